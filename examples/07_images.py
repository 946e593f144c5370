"""Step 7: a folder of images in one SharedArray. Workers get slices of it and work on them in place, without a copy."""

import tempfile
from pathlib import Path

import numpy as np

import allcores as mp


def load(file, image):
    image[:] = np.load(file)


def normalise(image):
    image -= image.mean()
    image /= image.std()


with tempfile.TemporaryDirectory() as folder:
    for i in range(20):  # our folder of images: noise, each brighter than the one before
        np.save(f"{folder}/{i:02}.npy", np.random.default_rng(i).normal(100 + i, 20, (64, 64, 3)))

    files = sorted(Path(folder).iterdir())
    images = mp.SharedArray((len(files), 64, 64, 3), dtype=np.float32)  # a NumPy array like any other
    with mp.Pool() as pool:
        pool.starmap(load, zip(files, images, strict=True))  # an image travels as a few bytes, however large it is
        print(f"loaded:     means from {images[0].mean():.0f} to {images[-1].mean():.0f}")
        pool.map(normalise, images)

print(f"normalised: mean {abs(images.mean()):.2f}, deviation {images.std():.2f}")
