"""Write tests/data/masked.keras and what Keras computes with it; with KERAS_BACKEND=jax."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

rng, folder = np.random.default_rng(0), Path(__file__).parents[1] / "data"
keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None,)),
        layers.Embedding(9, 3, mask_zero=True),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="ave"),
        layers.GRU(4, return_sequences=True, recurrent_activation="hard_sigmoid"),
        layers.LayerNormalization(),
        layers.GRU(2, reset_after=False, return_sequences=True),
        layers.Dense(2, activation="softmax"),
    ]
)
for layer in model.layers:
    layer.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in layer.get_weights()])
x = np.array([[3, 1, 8, 2, 5], [7, 2, 0, 0, 0]])
model.save(folder / "masked.keras")
np.savez(folder / "masked.npz", x=x, y=np.asarray(model(x)))
