"""An LSTM that learns to write like Shakespeare, character by character, in a training loop of its own.

    LAMP_DATA=folder python examples/character_lstm.py      # folder/tinyshakespeare/input.txt
    python examples/character_lstm.py --text book.txt       # any text of yours

The text is cut into 32 long parts that are read side by side, 64 characters in each step. The state that the LSTM has
after a step is where the next step begins; the gradient stops there (truncated backpropagation through time). It prints
the loss on the last tenth of the text, which is not trained on, draws the curve into character_lstm.png, and writes.
"""

import argparse
import time
from pathlib import Path

import torch

import lamp

LAYERS, WIDTH = 2, 128
BATCH, STEPS_OF_TIME, EPOCHS, LR = 32, 64, 8, 3e-3


class CharacterLSTM(lamp.Container):
    """Predicts the next character at each place of a text: (B, T) -> scores (B, characters, T), and the last state."""

    def __init__(self, characters, layers=LAYERS, width=WIDTH):
        self.embedding = lamp.Embedding(characters, width)
        self.lstm = lamp.LSTM(width, width, layers, batch_first=True)
        self.score = lamp.Linear(width, characters)

    def forward(self, text, state=None):
        y, state = self.lstm(self.embedding(text), state)
        return self.score(y).transpose(1, 2), state

    def backward(self, dscores, dstate=None):
        dx = self.lstm.backward(self.score.backward(dscores.transpose(1, 2)), dstate)
        self.embedding.backward(dx[0] if isinstance(dx, tuple) else dx)


def network(characters):
    """The untrained network, for a text with so many different characters."""
    return CharacterLSTM(characters)


def data(text=None):
    """The characters of a file, or of tiny Shakespeare, and the text as their indices: the first 90 %, and the rest."""
    read = lamp.data.tiny_shakespeare if text is None else lamp.data.characters
    given = () if text is None else (Path(text).read_text(encoding="utf-8"),)
    train, held_out = (read(*given, train=part, context=1) for part in (True, False))
    return train.classes, train.inputs[:, 0], held_out.inputs[:, 0]


def batches(text, batch=BATCH):
    """Pairs (B, T) of characters and those that follow them. Each batch goes on where the one before it ended."""
    parts = text[: len(text) // batch * batch].view(batch, -1)
    for begin in range(0, parts.shape[1] - 1, STEPS_OF_TIME):
        targets = parts[:, begin + 1 : begin + STEPS_OF_TIME + 1]
        yield parts[:, begin : begin + targets.shape[1]].contiguous(), targets.contiguous()


def train_epoch(model, criterion, optimizer, scheduler, text):
    """The mean loss of one epoch of training."""
    losses, state = [], None
    for inputs, targets in batches(text):
        scores, state = model(inputs, state)  # no detach: lamp records nothing, so no gradient goes further back
        losses.append(criterion(scores, targets).item())
        model.zero_grad()
        model.backward(criterion.backward())
        lamp.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    return sum(losses) / len(losses)


def loss_on(model, criterion, text):
    """The mean loss on a text."""
    losses, state = [], None
    model.eval()
    for inputs, targets in batches(text):
        scores, state = model(inputs, state)
        losses.append(criterion(scores, targets).item())
    model.train()
    return sum(losses) / len(losses)


def written(model, classes, length, start="\n"):
    """A text that begins with `start`, each further character drawn with the probability that the network gives it."""
    text, state = [classes.index(start)], None
    model.eval()
    for _ in range(length):
        scores, state = model(torch.tensor([text[-1:]]), state)
        text.append(torch.multinomial(scores[0, :, -1].softmax(0), 1).item())
    return "".join(classes[index] for index in text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="a file to learn from; tiny Shakespeare by default")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two epochs, on this file as the text")
    parser.add_argument("--out", default=".", help="the folder for the figure")
    options = parser.parse_args(arguments)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    file, epochs = (__file__, 2) if options.quick else (options.text, options.epochs)

    torch.manual_seed(options.seed)
    classes, text, held_out = data(file)
    model, criterion = network(len(classes)), lamp.CrossEntropyLoss()
    optimizer = lamp.Adam(model.parameters(), lr=LR)
    scheduler = lamp.CosineAnnealingLR(optimizer, epochs * len(list(batches(text))))

    begun, curves = time.perf_counter(), {"loss": [], "held-out loss": []}
    for epoch in range(1, epochs + 1):
        curves["loss"].append(train_epoch(model, criterion, optimizer, scheduler, text))
        curves["held-out loss"].append(loss_on(model, criterion, held_out))
        seconds = time.perf_counter() - begun
        print(f"epoch {epoch}  " + "  ".join(f"{k} {v[-1]:.3f}" for k, v in curves.items()) + f"  {seconds:.0f} s")
    print(written(model, classes, 20 if options.quick else 600))

    axes = None
    for name, values in curves.items():
        axes = lamp.plots.curves(torch.tensor(values), ax=axes, label=name, ylabel="loss")
    lamp.plots.save(axes, Path(options.out, "character_lstm.png"))


if __name__ == "__main__":
    main()
