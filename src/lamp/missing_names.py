"""The errors for names that lamp does not have: they give similar names, or the equivalent of a torch or Keras name."""

from __future__ import annotations

import difflib
import dis
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from lamp.errors import MissingImportError, MissingNameError

CLOSE = 0.7  # similarity, from 0 to 1, from which a name is suggested
OWN_MODULE = "write a lamp.Module of your own, with forward and backward"

# What to do instead: the names that this holds for, as regular expressions that match a whole name.
INSTEAD = {
    "lamp.MaxPool2d or lamp.AvgPool2d, over 1, 2 or 3 axes": (r"(Global)?(Max|Average)Pool(ing)?[123][dD]",),
    "lamp.ConvTranspose1d, lamp.ConvTranspose2d or lamp.ConvTranspose3d": (r"Conv[123][dD]Transpose|Deconv\w*",),
    "lamp.ZeroPad1d, lamp.ZeroPad2d or lamp.ZeroPad3d": (r"ZeroPadding[123]D",),
    "lamp.BatchNorm1d, BatchNorm2d or BatchNorm3d: there is one process, which sees the whole batch": (
        r"SyncBatchNorm|convert_sync_batchnorm",
    ),
    "lamp.BatchNorm1d, lamp.LayerNorm and others normalise values; dataset.normalized() normalises data": (
        r"\w*(Batch|Layer|Group|Instance|RMS|Response)_?[Nn]orm\w*|Normalization",
    ),
    "lamp.MultiheadAttention(embed_dim, num_heads)": (r"\w*Attention|(scaled_dot_product_)?attention",),
    "lamp.Dropout1d, lamp.Dropout2d or lamp.Dropout3d": (r"SpatialDropout[123]D",),
    "lamp.Upsample(scale_factor=2)": (r"UpSampling[123]D|Upsampl\w*|Resizing|interpolate",),
    "lamp.LocalResponseNorm(size)": (r"CrossMapLRN2d|LRN",),
    "lamp.Linear(in_features, out_features), then an activation such as lamp.ReLU()": (r"Dense",),
    "lamp.Sequential(...), or a class of lamp.Module with forward and backward": (r"Model|Input(Layer)?|Layer",),
    "a plain list or dict as an attribute: lamp finds the parameters in it": (r"Parameter(List|Dict)",),
    "lamp.AdaptiveLogSoftmaxWithLoss(in_features, n_classes, cutoffs), which scores rare classes in clusters": (
        r"NCELoss|SampledSoftmax\w*",
    ),
    "lamp.NLLLoss, which takes images too": (r"NLLLoss2d",),
    "nothing: the options of torch's LinearCrossEntropyLoss say how it cuts the batch": (r"LinearCrossEntropyOptions",),
    "a lamp.Module of your own that computes the weight from its parameters, and their gradients in its backward": (
        r"parametri[sz]\w*|(remove_)?([Ww]eight|[Ss]pectral)_?[Nn]orm\w*|prun(e|ing)\w*",
    ),
    "torch.cat([p.data.flatten() for p in model.parameters()]); p.data.copy_(part) for the way back": (
        r"parameters_to_vector|vector_to_parameters",
    ),
    "the lazy modules, such as lamp.LazyLinear(4), which make their parameters by themselves": (
        r"Uninitialized(Parameter|Buffer)|skip_init",
    ),
    "lamp.RNN, lamp.LSTM or lamp.GRU": (r"RNN(Cell)?Base",),
    "lamp.nn.pack_padded_sequence, lamp.nn.pad_sequence and others": (r"rnn",),
    "lamp.AveragedModel(model, decay=0.999), or without a decay for the mean": (
        r"swa_utils|get_(ema|swa)_(multi_)?avg_fn",
    ),
    "lamp.clip_grad_norm_(model.parameters(), max_norm), which returns the norm": (
        r"clip_grad(_norm)?|clip_grads_with_norm_|get_total_norm",
    ),
    "lamp has no lower precision than bfloat16 and float16: model.bfloat16()": (r"quant\w*|qat|intrinsic",),
    "nothing: memory formats and fused layers are left to lamp's modules": (
        r"convert_conv[23]d_weight_memory_format|memory_format|fus(e_\w+|ion)",
    ),
    "torch's function, on the tensor: torch.nn.init.trunc_normal_(layer.weight.data)": (
        r"(trunc_normal|dirac|eye|sparse)_?",
    ),
    "a module, since it has a backward, such as lamp.ReLU()(x); torch.relu(x) where no gradient is needed": (
        r"(log_?)?(softmax|sigmoid)|(leaky_|p)?relu6?|[gcs]?elu|silu|swish|mish|tanh(shrink)?|threshold|dropout|flatten",
        r"soft(plus|sign|shrink)|hard_?(tanh|swish|sigmoid|shrink)|linear|functional|F",
    ),
    "a module, since it has a backward: criterion = lamp.CrossEntropyLoss(); loss = criterion(output, target)": (
        r"(binary_)?cross_entropy(_with_logits)?|(mse|l1|nll|huber|smooth_l1|bce)(_loss)?|kl_div",
    ),
    "nothing: lamp records no operations, and in model.eval() nothing is remembered": (
        r"no_grad|inference_mode|enable_grad|set_grad_enabled",
    ),
    "model.bfloat16(), and inputs of that dtype: lamp mixes no precisions by itself": (
        r"autocast|amp|[Gg]rad_?[Ss]caler|mixed_precision",
    ),
    "torch.manual_seed(0) before the network is made; seed=0 in fit and DataLoader for orders and masks": (
        r"seed|set_seed|set_random_seed|seed_everything|random_seed",
    ),
    "lamp.fit(model, criterion, optimizer, data, epochs=10), with metrics=, callbacks= and validation=": (
        r"Trainer|LightningModule|LightningDataModule|Learner|learner",
    ),
    "lamp.plots.curves(history), or history.plot()": (r"plot(_history|_loss|_curves)?|history|loss_curve",),
    "lamp.plots.output_map(model, ...)": (r"(plot_)?(decision_)?(map|boundary|decision_boundary|contourf?)",),
    "lamp.plots.save(figure, path); a notebook shows what a cell ends with": (r"show|savefig|figure|imshow",),
    "lamp takes no derivatives by itself: model.backward(criterion.backward())": (
        r"autograd|grad|backward|func|vmap|stateless|functional_call",
    ),
    "a lamp.Loss of your own, with value and derivative": (
        r"(Hinge|Focal|Dice|Tversky|Lovasz|NTXent|Contrastive|ArcFace|CosFace|LogCosh|Quantile|Pinball)Loss",
    ),
    "lamp.AdamW, or a lamp.Optimizer of your own, with coefficients and update": (
        r"Adan|LAMB|LARS|Sophia\w*|Shampoo|SOAP|Prodigy|Ranger|FTRL|AdaBelief|AdaBound|DAdapt\w*",
    ),
    "lamp itself has them, such as lamp.StepLR(optimizer, 10)": (r"lr_scheduler|schedulers?|schedules",),
    "lamp itself has them, such as lamp.Adam(model.parameters())": (r"optimizers?",),
    "lamp itself has them, such as lamp.Linear(2, 25)": (r"layers|activations|modules|parameter",),
    "lamp itself has them: lamp.EarlyStopping, lamp.Checkpoint, or a class of lamp.Callback": (r"callbacks",),
    "lamp.metrics has them, such as lamp.metrics.F1(); any function of (output, target) is a metric too": (
        r"metric|Metrics?|F1(Score)?|f1_score|Precision|Recall|AUC|AUROC|roc_auc_score|ConfusionMatrix|R2(Score)?|Perplexity",
        r"Mean(Absolute|Squared)Error",
    ),
    "lamp.Dataset(inputs, targets), or (inputs, targets) themselves": (r"TensorDataset",),
    "dataset[[3, 1, 4]] and dataset[mask] are data sets too; DataLoader(..., indices=...)": (r"Subset",),
    "lamp itself has what is used of it: lamp.DataLoader, lamp.Dataset, lamp.clip_grad_norm_, lamp.nn.pad_sequence": (
        r"utils",
    ),
    "lamp.fit(..., validation=0.2) holds out a fifth; dataset.split(0.8) is two data sets": (
        r"random_split|train_test_split",
    ),
    "lamp.LambdaLR(optimizer, function) and others, as scheduler= of lamp.fit": (r"LearningRateScheduler|\w+Decay",),
    "lamp.init.kaiming_normal_(tensor, nonlinearity='linear'), whose variance is 1 / fan_in": (r"lecun_normal_?",),
    "lamp.init.xavier_uniform_ or xavier_normal_, which is Glorot's": (r"glorot_\w+",),
    "lamp.init.kaiming_uniform_ or kaiming_normal_, which is He's": (r"he_\w+",),
    "lamp.init.normal_ or uniform_, of this standard deviation or these bounds": (
        r"(truncated|random)_(normal|uniform)_?|variance_scaling|[Ii]nitializers?",
    ),
    "torch's: lamp computes on torch tensors": (
        r"tensor|Tensor|zeros|ones|randn?|arange|from_numpy|as_tensor|manual_seed|device|dtype|float(16|32|64)|int64|long",
        r"cuda|mps|backends|stack|cat|Generator|set_num_threads",
    ),
    "lamp.fit(model, criterion, optimizer, (inputs, targets), epochs=10)": (r"train|KernelRunner|train_step",),
    "lamp.compile(model, criterion, optimizer, batch_size), or lamp.fit, which compiles by itself": (
        r"jit|script|vectorize|torch_compile",
    ),
    "lamp trains on one device": (r"(Distributed)?DataParallel|distributed|parallel",),
}


def missing_name(module: str, name: str, known: Iterable[str], importing: bool = False) -> Exception:
    """The error for a name that does not exist in a Python module of lamp's.

    module     the module's name, such as "lamp.nn"
    known      the names that exist there
    importing  whether the name was imported, so that the error must be an ImportError
    """
    public = sorted(each for each in known if not each.startswith("_"))
    by_fold = {each.lower(): each for each in public}
    same = by_fold.get(name.lower().replace("_", ""))
    close = [same] if same else difflib.get_close_matches(name, public, n=3, cutoff=CLOSE)
    instead = next((text for text, names in INSTEAD.items() if any(re.fullmatch(each, name) for each in names)), None)
    top = getattr(sys.modules.get("lamp.public"), "__all__", ())
    if module != "lamp" and name in top:
        instead = f"lamp.{name}"
    kind = MissingImportError if importing else MissingNameError
    return kind(
        f"{module} has no {name}",
        expected=f"a name that it has, such as {', '.join(close)}" if close else f"a name that dir({module}) lists",
        got=name,
        fix=instead or (f"did you mean {module}.{close[0]}?" if close else f"check the name, or {OWN_MODULE}"),
    )


def called_by_import() -> bool:
    """Whether the module-level `__getattr__` that calls this was called by `from module import name`."""
    frame = sys._getframe(2)
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM" if frame.f_lasti >= 0 else False


def module_getattr(module: str, known: Callable[[], Iterable[str]]) -> Callable[[str], Any]:
    """A `__getattr__` for a Python module of lamp's, which raises that error."""

    def raise_missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise missing_name(module, name, known(), called_by_import())

    return raise_missing
