"""The course for nbgrader: the pages of ``book/exercises`` are the source, all else lies in ``course`` (chapter by
chapter one assignment). The page on teaching says how it is used."""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "focal-loss"
c.CourseDirectory.source_directory = "book/exercises"
c.CourseDirectory.release_directory = "course/exercises"
c.CourseDirectory.submitted_directory = "course/submitted"
c.CourseDirectory.autograded_directory = "course/autograded"
c.CourseDirectory.feedback_directory = "course/feedback"
c.CourseDirectory.db_url = "sqlite:///course/gradebook.db"

c.ClearSolutions.code_stub = {"python": "# your code here\n..."}
c.ExecutePreprocessor.timeout = 60  # seconds a cell: a check stops an answer that never ends long before
