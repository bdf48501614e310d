"""Images from anywhere, as batches: the embedded sample, folders, Parquet files, torchvision's data sets."""

from .box_data import describe_boxes, load_boxes
from .box_transform import BoxAugmentation
from .boxes import NOTHING
from .config import DataConfig
from .depth_data import DepthData, describe_depth, load_depth
from .depth_look import BORDER
from .found import Found, LeftOut, SplitFound
from .image_data import ImageData, describe_data, load_data
from .loaders import TestLoader, TrainLoader
from .mask_data import describe_masks, load_masks
from .mask_values import VOID

__all__ = [
    "BORDER",
    "NOTHING",
    "VOID",
    "BoxAugmentation",
    "DataConfig",
    "DepthData",
    "Found",
    "ImageData",
    "LeftOut",
    "SplitFound",
    "TestLoader",
    "TrainLoader",
    "describe_boxes",
    "describe_data",
    "describe_depth",
    "describe_masks",
    "load_boxes",
    "load_data",
    "load_depth",
    "load_masks",
]
