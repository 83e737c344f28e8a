"""Task heads on top of CARL for segmentation and for classification of whole images.

The heads with UperNet or Mask2Former need transformers (``pip install "napari-carl[heads]"``). No
head downloads anything.
"""

from carl.model.heads.factory import HEADS, HeadConfig, build_head

__all__ = ["HEADS", "HeadConfig", "build_head"]
