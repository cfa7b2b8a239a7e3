"""The course for nbgrader: the pages of ``book/exercises`` are the source, all else lies in ``course`` (chapter by
chapter one assignment). The page on teaching says how it is used."""

import sys
from pathlib import Path

import focalbook

# The folder tools, which is not installed, lies beside focalbook; this file may be a copy, for a course elsewhere.
sys.path.insert(0, str(Path(focalbook.__file__).parents[1]))

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

# Mend stands in for DeduplicateIds, which in nbgrader 0.9.6 leaves on a copied cell what then stops the whole class.
own, rest = "tools.submissions.Mend", ("ClearOutput", "OverwriteKernelspec", "OverwriteCells", "CheckCellMetadata")
c.Autograde.sanitize_preprocessors = [own, *(f"nbgrader.preprocessors.{name}" for name in rest)]
c.IgnorePattern.enabled = True  # to nbgrader, a check has failed that wrote to stderr, where warnings go
c.IgnorePattern.pattern = "^"  # any text
