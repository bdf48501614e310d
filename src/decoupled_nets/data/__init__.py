"""Images from anywhere, as batches: the embedded sample, folders, Parquet files, torchvision's data sets."""

from decoupled_nets.data.config import DataConfig
from decoupled_nets.data.image_data import ImageData, load_data
from decoupled_nets.data.loaders import TestLoader, TrainLoader

__all__ = ["DataConfig", "ImageData", "TestLoader", "TrainLoader", "load_data"]
