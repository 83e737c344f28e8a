from .cube import SpectralCube
from .errors import CarlError
from .inference import Embedding, embed, embed_to_file
from .io import (
    CubeInfo,
    LabelClass,
    LabelMap,
    info,
    merge_classes,
    read_cube,
    read_labels,
    write_cube,
    write_labels,
)
from .learning import (
    CubeFeatures,
    FineTuneResult,
    FitReport,
    Prediction,
    Predictor,
    Segmenter,
    TrainConfig,
    TrainResult,
    compute_features,
    finetune,
    load_predictor,
    predict_to_files,
    train,
    train_to_file,
)
from .metrics import Scores, evaluate
from .model import (
    CARL,
    ModelInfo,
    download_weights,
    import_checkpoint,
    list_models,
    load_model,
)
from .pretraining import PretrainConfig, PretrainResult, pretrain
from .simulation import simulate
from .user_folders import features_folder
from .version import __version__
from .wavelengths import Camera, camera, cameras

__all__ = [
    "CARL",
    "Camera",
    "CarlError",
    "CubeFeatures",
    "CubeInfo",
    "Embedding",
    "FineTuneResult",
    "FitReport",
    "LabelClass",
    "LabelMap",
    "ModelInfo",
    "Prediction",
    "Predictor",
    "PretrainConfig",
    "PretrainResult",
    "Scores",
    "Segmenter",
    "SpectralCube",
    "TrainConfig",
    "TrainResult",
    "__version__",
    "camera",
    "cameras",
    "compute_features",
    "download_weights",
    "embed",
    "embed_to_file",
    "evaluate",
    "features_folder",
    "finetune",
    "import_checkpoint",
    "info",
    "list_models",
    "load_model",
    "load_predictor",
    "merge_classes",
    "predict_to_files",
    "pretrain",
    "read_cube",
    "read_labels",
    "simulate",
    "train",
    "train_to_file",
    "write_cube",
    "write_labels",
]
