"""The few lines of a carls program: a trainer and a maker that share what they know."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

import carls
from carls.makers import MakerRunner, VertexEmbeddingMaker
from carls.torch import GraphRegularizer

images, digits = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
x, y = torch.tensor(images[order] / 16).float(), torch.tensor(digits[order])
pool, test, labelled = slice(0, 1297), slice(1297, None), slice(0, 50)
search = NearestNeighbors(n_neighbors=5).fit(x[pool])
neighbours = search.kneighbors(return_distance=False)


def embed(checkpoint: carls.Model, keys: carls.Keys) -> np.ndarray:
    """What a checkpoint says of images."""
    w = {name: torch.from_numpy(tensor) for name, tensor in checkpoint.tensors.items()}
    hidden = torch.relu(x[keys.integers] @ w["0.weight"].T + w["0.bias"])
    return torch.softmax(hidden @ w["2.weight"].T + w["2.bias"], dim=1).numpy()


bank = carls.connect()  # "grpc://host:7070" for a server that processes share
vertices = bank.embeddings("vertices", dim=10)
graph_loss = GraphRegularizer(vertices, weight=10.0, ramp_steps=200)
layers = torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

maker = VertexEmbeddingMaker(vertices, embed)
with MakerRunner(bank, maker, model="network", keys=np.arange(1297)):
    for step in range(600):
        if step % 20 == 0:
            bank.models.publish("network", model.state_dict(), step=step)
        logits = model(x[labelled])
        loss = torch.nn.functional.cross_entropy(logits, y[labelled])
        batch = np.random.randint(0, 1297, 128)  # most of them without a label
        loss = loss + graph_loss(model(x[batch]), neighbours[batch], step=step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

accuracy = (model(x[test]).argmax(dim=1) == y[test]).float().mean()
print(f"{accuracy:.1%} of 500 test images are right, learned from 50 labels")
bank.close()
