"""Networks, losses, augmentation, conditioning and the WGAN itself."""
