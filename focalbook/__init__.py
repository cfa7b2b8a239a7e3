"""The shared module of the focal loss book: one idea a file, each imported by the chapter that explains it.

===================  ===================================================  =======
the detector         idea                                                 chapter
===================  ===================================================  =======
``fused``            the loss and its slope in one kernel for GPUs        17
``losses``           cross-entropy, balanced cross-entropy, focal loss    2-5, 17, 18
``imbalance``        who owns the loss and the gradient                   1, 5
``scenes``           the synthetic data set                               6
``boxes``            IoU, box coding, non-maximum suppression             7
``anchors``          the grid of candidate boxes                          7
``matching``         which anchor answers for which object                7
``retinanet``        backbone, feature pyramid, heads, prior, detections  8
``mining``           online hard example mining                           11
``cousins``          three relatives of focal loss                        15
``softmax``          focal loss for classes that exclude each other       23
``distributed``      what processes that train together add up            20
``files``            files, written whole or not at all                   11
``allocator``        memory that a step frees, kept for the next          9
``checkpoints``      what a run can go on from, in one file               9
``training``         targets, the training loss, the training loop        8, 9
``reproducibility``  whether the digits of a training hold                17
``evaluation``       average precision by the COCO rules                  10
``pictures``         pictures as cameras and exporters leave them         21
``annotations``      what an annotation file says, value by value         21
``turns``            flips and quarter turns, boxes following             22
``formats``          folders in COCO's, Pascal VOC's and YOLO's format    21
``coco``             your own images, in the place of scenes              21
``detector``         a trained detector, and what it finds in a photo     21
``trees``            trees from above, which come by pip                  22
``platelets``        platelets in blood, and their five folds             22
``__main__``         the command: train one detector and judge it         20, 21
===================  ===================================================  =======

===================  ===================================================  =======
the evidence         idea                                                 chapter
===================  ===================================================  =======
``owners``           who owns the loss of a detector in training          14
``calibration``      whether the scores mean what they say                15
``intervals``        how sure we are: the one interval, and the claims    11
``studies``          every run that the book reports, declared            11
``sources``          what determines a result, as a hash                  11
``records``          runs as small files, read with care                  11
``experiments``      what the records tell                                11
``evidence``         the command: make the runs, check and replay them    11
===================  ===================================================  =======

===================  ===================================================  =======
the book             idea                                                 chapter
===================  ===================================================  =======
``plots``            the style of the figures, and scenes with boxes      all
``prose``            numbers in prose, bound to computed values           all
``checks``           what the exercises' answers are held to              all
===================  ===================================================  =======

A module imports only modules above it. Importing ``focalbook`` needs NumPy and torch alone; matplotlib, tqdm, Pillow
and the COCO library are imported where they are used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from focalbook.detector import Detector

__version__ = "1.0.0"


def load(file: "str | Path", device: "str | torch.device" = "cpu") -> "Detector":
    """The trained detector in the checkpoint of a run: ``detector.load`` (chapter 21)."""
    from focalbook import detector  # not above, for whoever wants the loss alone

    return detector.load(file, device)
