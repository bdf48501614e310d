"""Images from anywhere, as batches: the embedded sample, folders, Parquet files, torchvision's data sets."""

from .config import DataConfig
from .image_data import ImageData, load_data
from .loaders import TestLoader, TrainLoader

__all__ = ["DataConfig", "ImageData", "TestLoader", "TrainLoader", "load_data"]
