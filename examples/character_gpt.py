"""A small GPT that learns to write like Shakespeare, character by character.

    LAMP_DATA=folder python examples/character_gpt.py       # folder/tinyshakespeare/input.txt
    python examples/character_gpt.py --text book.txt        # any text of yours

Network and training are those of nanoGPT for a CPU: 4 layers of 4 heads, 128 wide, 64 characters of context, 2,000
steps with batches of 12 windows, drawn at random from the text. The script prints the loss on the last tenth of the
text, which is not trained on, draws its curve into character_gpt.png, and writes some lines of its own.
"""

import argparse
import time
from pathlib import Path

import torch

import lamp

LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 128, 64
BATCH, STEPS, EVALUATIONS = 12, 2_000, 8
LR, LEAST_LR, WARM_UP = 1e-3, 1e-4, 100


class CharacterGPT(lamp.Container):
    """Predicts the next character at each place of a text: (B, T) -> scores (B, characters, T)."""

    def __init__(self, characters, layers=LAYERS, heads=HEADS, width=WIDTH, context=CONTEXT):
        self.what, self.where = lamp.Embedding(characters, width), lamp.Embedding(context, width)
        layer = lamp.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", norm_first=True)
        self.layers = lamp.TransformerEncoder(layer, layers, lamp.LayerNorm(width))
        self.score = lamp.Linear(width, characters)
        for parameter in self.parameters():
            if len(parameter.shape) == 2:
                lamp.init.normal_(parameter.data, std=0.02)

    def forward(self, text):
        text = text.T  # (T, B): attention takes the places first
        places = torch.arange(len(text), device=text.device)
        x = self.what(text) + self.where(places).unsqueeze(1)  # (T, B, width)
        mask = lamp.Transformer.generate_square_subsequent_mask(len(text), device=text.device)  # no look ahead
        return self.score(self.layers(x, mask, None, True)).permute(1, 2, 0)

    def backward(self, grad_output):
        dx = self.layers.backward(self.score.backward(grad_output.permute(2, 0, 1)))
        self.what.backward(dx)
        self.where.backward(dx.sum(1))

    def trace(self, tracer, text):  # optional: the graph, for lamp.summary and lamp.to_onnx
        (length,) = text.shape
        where = tracer(self.where, tracer.constant(self, torch.arange(length)))
        x = tracer.add(self, tracer(self.what, text), where)
        mask = lamp.Transformer.generate_square_subsequent_mask(length)
        x = tracer(self.layers, tracer.batch_at(x, 1), mask, None, True)
        return tracer.permute(self, tracer(self.score, tracer.batch_at(x, 0)), (1, 0))


class RandomWindows:
    """Batches of windows drawn at random from a text; an epoch has so many of them."""

    def __init__(self, windows, steps):
        self.windows, self.steps = windows, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        for _ in range(self.steps):
            drawn = torch.randint(len(self.windows), (BATCH,))
            yield self.windows[drawn].tensors


def network(characters):
    """The untrained network, for a text with so many different characters."""
    return CharacterGPT(characters)


def data(text=None):
    """Windows of the first 90 % of the text and of the rest: of a file, or of tiny Shakespeare."""
    if text is None:
        return (lamp.data.tiny_shakespeare(train=part, context=CONTEXT) for part in (True, False))
    read = Path(text).read_text(encoding="utf-8")
    return (lamp.data.characters(read, CONTEXT, train=part) for part in (True, False))


def written(model, classes, length, start="\n"):
    """A text that begins with `start`, each further character drawn with the probability that the network gives it."""
    text = [classes.index(character) for character in start]
    for _ in range(length):
        scores = lamp.predict(model, torch.tensor([text[-CONTEXT:]]))[0, :, -1]
        text.append(torch.multinomial(scores.softmax(0), 1).item())
    return "".join(classes[index] for index in text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="a file to learn from; tiny Shakespeare by default")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"how many; a multiple of {EVALUATIONS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps, on this file as the text")
    parser.add_argument("--out", default=".", help="the folder for the figure")
    options = parser.parse_args(arguments)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    text, steps = (__file__, EVALUATIONS) if options.quick else (options.text, options.steps)
    if steps < 1 or steps % EVALUATIONS:
        parser.error(f"--steps is a multiple of {EVALUATIONS}, as the loss is measured {EVALUATIONS} times")

    torch.manual_seed(options.seed)
    train, held_out = data(text)
    model, criterion = network(len(train.classes)), lamp.CrossEntropyLoss()
    optimizer = lamp.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.99), weight_decay=0.1)
    warm_up = lamp.LinearLR(optimizer, start_factor=0.01, total_iters=WARM_UP)
    decay = lamp.CosineAnnealingLR(optimizer, max(steps - WARM_UP, 1), eta_min=LEAST_LR)

    begun = time.perf_counter()
    history = lamp.fit(
        model,
        criterion,
        optimizer,
        RandomWindows(train, steps // EVALUATIONS),
        epochs=EVALUATIONS,
        validation=held_out[::CONTEXT],  # windows that do not overlap
        scheduler=lamp.SequentialLR(optimizer, [warm_up, decay], [WARM_UP]),
        schedule_per="batch",
        clip_norm=1.0,
    )
    seconds = time.perf_counter() - begun
    print(history)
    print(f"\nloss on the held-out text {history['validation_loss'][-1]:.3f}, after {seconds:.0f} s\n")
    print(written(model, train.classes, 20 if options.quick else 600))
    lamp.plots.save(history.plot(), Path(options.out, "character_gpt.png"))


if __name__ == "__main__":
    main()
