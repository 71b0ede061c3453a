"""The papers' arguments in one dimension, or on images of eight by eight pixels: computed exactly where that can be."""
