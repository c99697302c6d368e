"""Pictures from anywhere: what to read (ImageInput, list_images), their bytes (read_images), their pixels
(decode_image)."""

from vsalign.images.archives import read_images
from vsalign.images.decode import DecodeOptions, decode_image, decode_sized, read_size
from vsalign.images.reading import ReadImage, ReadOptions
from vsalign.images.retrying import Retry
from vsalign.images.sources import IMAGE_PLAN, ImageInput, Listing, list_images

__all__ = [
    "IMAGE_PLAN",
    "DecodeOptions",
    "ImageInput",
    "Listing",
    "ReadImage",
    "ReadOptions",
    "Retry",
    "decode_image",
    "decode_sized",
    "list_images",
    "read_images",
    "read_size",
]
