"""The divisor of a batch's loss, right and wrong, for the checks of chapters 4, 8 and 19.

Each is a function of the positives of every image, an int64 tensor of shape (B,).
"""


def divisor(positives):
    return positives.sum().clamp(min=len(positives))


DIVISORS = {
    "a batch without objects divides by zero: divide by the number of images if that is larger": lambda positives: (
        positives.sum()
    ),
    "a batch without objects weighs too much: the divisor is at least the number of images, not 1": lambda positives: (
        positives.sum().clamp(min=1)
    ),
    "an image without objects counts as one positive: take the larger of the batch's positives and its images": (
        lambda positives: positives.clamp(min=1).sum()
    ),
    "a batch with few objects weighs too much: divide by the number of images wherever that is larger": (
        lambda positives: positives.sum() or len(positives)
    ),
}
