from stftgan_tf.data.batching import slices


def test_slices_cover_every_row_once():
    assert list(slices(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(slices(0, 2)) == []
