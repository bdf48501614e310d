"""Images from anywhere, as batches: the embedded sample, folders, Parquet files, torchvision's data sets."""

from .config import DataConfig
from .found import Found, LeftOut, SplitFound
from .image_data import ImageData, describe_data, load_data
from .loaders import TestLoader, TrainLoader

__all__ = [
    "DataConfig",
    "Found",
    "ImageData",
    "LeftOut",
    "SplitFound",
    "TestLoader",
    "TrainLoader",
    "describe_data",
    "load_data",
]
