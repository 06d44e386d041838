"""Values that the replicas of a distributed training share."""

from typing import Any

import tensorflow as tf


def state_variable(value: Any, dtype: tf.DType) -> tf.Variable:
    """A variable that every replica sets to the same value."""
    return tf.Variable(
        value,
        trainable=False,
        dtype=dtype,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def value_of(variable: tf.Variable) -> int:
    """The value of this worker's copy, read without asking other workers."""
    strategy = tf.distribute.get_strategy()
    return int(strategy.experimental_local_results(variable)[0])


def replica_mean(value: tf.Tensor) -> tf.Tensor:
    """The mean of a value over all replicas, inside of a training step."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
