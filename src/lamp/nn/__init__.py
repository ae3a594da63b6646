"""Layers, activations and containers, one file per family.

`import lamp.nn as nn` also finds Module, Parameter, Buffer and the losses here, as in torch.nn.
"""

from lamp.losses import BCELoss as BCELoss
from lamp.losses import BCEWithLogitsLoss as BCEWithLogitsLoss
from lamp.losses import CosineEmbeddingLoss as CosineEmbeddingLoss
from lamp.losses import CrossEntropyLoss as CrossEntropyLoss
from lamp.losses import CTCLoss as CTCLoss
from lamp.losses import GaussianNLLLoss as GaussianNLLLoss
from lamp.losses import HingeEmbeddingLoss as HingeEmbeddingLoss
from lamp.losses import HuberLoss as HuberLoss
from lamp.losses import KLDivLoss as KLDivLoss
from lamp.losses import L1Loss as L1Loss
from lamp.losses import MarginRankingLoss as MarginRankingLoss
from lamp.losses import MSELoss as MSELoss
from lamp.losses import MultiLabelMarginLoss as MultiLabelMarginLoss
from lamp.losses import MultiLabelSoftMarginLoss as MultiLabelSoftMarginLoss
from lamp.losses import MultiMarginLoss as MultiMarginLoss
from lamp.losses import NLLLoss as NLLLoss
from lamp.losses import PoissonNLLLoss as PoissonNLLLoss
from lamp.losses import SmoothL1Loss as SmoothL1Loss
from lamp.losses import SoftMarginLoss as SoftMarginLoss
from lamp.losses import TripletMarginLoss as TripletMarginLoss
from lamp.losses import TripletMarginWithDistanceLoss as TripletMarginWithDistanceLoss
from lamp.missing_names import module_getattr
from lamp.module import Module as Module
from lamp.nn.activation import Activation
from lamp.nn.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    LogSigmoid,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
    Tanhshrink,
)
from lamp.nn.activations_piecewise import (
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    PReLU,
    ReLU,
    ReLU6,
    Softshrink,
    Threshold,
)
from lamp.nn.adaptive_softmax import AdaptiveLogSoftmaxWithLoss
from lamp.nn.attention import MultiheadAttention
from lamp.nn.average_pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    LPPool1d,
    LPPool2d,
    LPPool3d,
)
from lamp.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from lamp.nn.branches import Parallel, Residual
from lamp.nn.container import Container
from lamp.nn.convolution import Conv1d, Conv2d, Conv3d
from lamp.nn.distances import CosineSimilarity, PairwiseDistance
from lamp.nn.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout, RReLU
from lamp.nn.embedding import Embedding
from lamp.nn.embedding_bag import EmbeddingBag
from lamp.nn.folding import Fold, Unfold
from lamp.nn.fractional_pooling import FractionalMaxPool2d, FractionalMaxPool3d
from lamp.nn.group_norm import GroupNorm, LocalResponseNorm
from lamp.nn.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from lamp.nn.lazy import (
    LazyConv1d,
    LazyConv2d,
    LazyConv3d,
    LazyConvTranspose1d,
    LazyConvTranspose2d,
    LazyConvTranspose3d,
    LazyLinear,
)
from lamp.nn.lazy_norm import (
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    LazyBatchNorm3d,
    LazyInstanceNorm1d,
    LazyInstanceNorm2d,
    LazyInstanceNorm3d,
)
from lamp.nn.linear import Linear
from lamp.nn.linear_cross_entropy import LinearCrossEntropyLoss
from lamp.nn.max_pooling import (
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MaxUnpool1d,
    MaxUnpool2d,
    MaxUnpool3d,
)
from lamp.nn.module_lists import ModuleDict, ModuleList
from lamp.nn.normalization import LayerNorm, RMSNorm
from lamp.nn.packing import PackedSequence as PackedSequence
from lamp.nn.packing import pack_padded_sequence as pack_padded_sequence
from lamp.nn.packing import pack_sequence as pack_sequence
from lamp.nn.packing import pad_packed_sequence as pad_packed_sequence
from lamp.nn.packing import pad_sequence as pad_sequence
from lamp.nn.packing import unpack_sequence as unpack_sequence
from lamp.nn.packing import unpad_sequence as unpad_sequence
from lamp.nn.padding import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReflectionPad3d,
    ReplicationPad1d,
    ReplicationPad2d,
    ReplicationPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from lamp.nn.piecewise_linear import PiecewiseLinearEncoding
from lamp.nn.products import GLU, Bilinear
from lamp.nn.recurrent import GRU, LSTM, RNN
from lamp.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell
from lamp.nn.sequential import Sequential
from lamp.nn.shape import Flatten, Identity, Unflatten
from lamp.nn.shuffling import ChannelShuffle, PixelShuffle, PixelUnshuffle
from lamp.nn.softmax import LogSoftmax, Softmax, Softmax2d, Softmin
from lamp.nn.transformer import TransformerDecoderLayer, TransformerEncoderLayer
from lamp.nn.transformer_stacks import Transformer, TransformerDecoder, TransformerEncoder
from lamp.nn.transposed_convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from lamp.nn.upsampling import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d
from lamp.parameter import Buffer as Buffer
from lamp.parameter import Parameter as Parameter

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Activation",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveLogSoftmaxWithLoss",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Container",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineSimilarity",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "EmbeddingBag",
    "FeatureAlphaDropout",
    "Flatten",
    "Fold",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "GRUCell",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LSTMCell",
    "LayerNorm",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
    "LeakyReLU",
    "Linear",
    "LinearCrossEntropyLoss",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "Mish",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "PReLU",
    "PairwiseDistance",
    "Parallel",
    "PiecewiseLinearEncoding",
    "PixelShuffle",
    "PixelUnshuffle",
    "RMSNorm",
    "RNNCell",
    "RReLU",
    "ReLU",
    "ReLU6",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Unflatten",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]

__getattr__ = module_getattr(__name__, lambda: globals())
