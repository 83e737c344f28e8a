"""Networks for tasks on top of CARL: segmentation, and classification of whole images.

Linear and classification heads need nothing else; those with UperNet or Mask2Former need
transformers, which ``pip install "napari-carl[heads]"`` brings. Nothing is ever downloaded.
"""

from carl.model.heads.factory import HEADS, HeadConfig, build_head

__all__ = ["HEADS", "HeadConfig", "build_head"]
