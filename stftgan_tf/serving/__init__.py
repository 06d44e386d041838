"""A thin server of exports that speaks TensorFlow Serving's protocol."""
