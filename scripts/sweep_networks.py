"""The networks of scripts/sweep_convert.py, and how to build them small."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from torch import nn

#: One of nearly every family of timm, with less than about 60 million parameters; more of the large families.
TIMM = """
beit_base_patch16_224 botnet26t_256 halonet26t lambda_resnet26t gcresnet33ts gernet_s mobileone_s0 repvgg_a0
cait_xxs24_224 coat_lite_tiny convit_tiny convmixer_768_32 convnext_atto cpubone_nano crossvit_tiny_240
csatv2 cspresnet50 cspdarknet53 cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121 dla34 dpn68
edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnet_b0_gn
efficientnetv2_rw_t mixnet_s mnasnet_small mobilenetv2_050 tf_efficientnet_b0 tf_mixnet_s
tf_efficientnet_cc_b0_4e efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0
fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnet_050 ghostnetv3_050 hardcorenas_a hgnet_tiny
hiera_tiny_224 hieradet_small hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3
inception_v4 lcnetv2_small levit_128s lowformer_b0 mambaout_femto coatnet_pico_rw_224
maxvit_rmlp_pico_rw_256 caformer_s18 convformer_s18 poolformer_s12 mixer_s32_224 lcnet_050
mobilenetv3_small_050 tf_mobilenetv3_small_minimal_100 fbnetv3_b mobilenetv4_conv_small mobilevit_xxs
mobilevitv2_050 mvitv2_tiny nest_tiny nextvit_small nfnet_l0 dm_nfnet_f0 nf_resnet26 pit_ti_224 pvt_v2_b0
rdnet_tiny regnetx_002 regnety_002 regnetz_b16 repghostnet_050 repvit_m0_9 res2net50_14w_8s resnest14d
resnet18 resnet26d resnet50_gn resnetblur50 seresnet50 resnext26ts resnetv2_18 resnetv2_50x1_bit
resnetv2_50d_gn rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s1
swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_ns_224 tiny_vit_5m_224
tnt_s_patch16_224 tresnet_m twins_svt_small vgg11_bn visformer_tiny vit_tiny_patch16_224
vit_small_resnet26d_224 vit_relpos_small_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_dw
ese_vovnet39b vovnet39a legacy_xception xception41 xcit_nano_12_p16_224
""".split()  # noqa: SIM905

#: Of torchvision, beside its networks for classification: networks for video and for segmentation.
TORCHVISION = """
r3d_18 mc3_18 r2plus1d_18 s3d mvit_v1_b swin3d_t fcn_resnet50 deeplabv3_mobilenet_v3_large
lraspp_mobilenet_v3_large
""".split()  # noqa: SIM905
#: Of segmentation_models_pytorch, with a ResNet-18 as encoder.
SEGMENTATION = """
Unet UnetPlusPlus MAnet PSPNet FPN Linknet PAN DeepLabV3Plus UPerNet Segformer
""".split()  # noqa: SIM905

Build = Callable[[], nn.Module]
Size = tuple[int, ...]


def builders(name: str) -> Iterator[tuple[Build, Size]]:
    """Ways to build a network with 10 classes, each with a size of input it may take, small ones first."""
    source, _, network = name.partition("/")
    if source == "torchvision" and network in TORCHVISION:
        yield from _dense_or_video(network)
    elif source == "smp":
        yield from _segmentation(network)
    else:
        for build, size in (_timm if source == "timm" else _torchvision)(network):
            yield build, (size, size)


def _dense_or_video(name: str) -> Iterator[tuple[Build, Size]]:
    from torchvision import models

    dense = name.startswith(("fcn", "deeplab", "lraspp"))
    options = {"weights_backbone": None} if dense else {}
    build = functools.partial(models.get_model, name, weights=None, num_classes=10, **options)
    for size in (64, 112, 224):
        yield build, (size, size) if dense else (16, size, size)


def _segmentation(name: str) -> Iterator[tuple[Build, Size]]:
    import segmentation_models_pytorch as smp

    for size in (64, 128):
        yield (
            functools.partial(getattr(smp, name), "resnet18", encoder_weights=None, classes=10),
            (size, size),
        )


def _timm(name: str) -> Iterator[tuple[Build, int]]:
    import timm

    build = functools.partial(timm.create_model, name, pretrained=False, num_classes=10)
    config = timm.get_pretrained_cfg(name)
    own = config.input_size[-1] if config else 224
    for size in sorted({64, 96, 128, own}):
        if config is not None and config.fixed_input_size and size != own:
            yield functools.partial(build, img_size=size), size
        else:
            yield build, size


def _torchvision(name: str) -> Iterator[tuple[Build, int]]:
    from torchvision import models

    build = functools.partial(models.get_model, name, weights=None, num_classes=10)
    if name.startswith("vit"):
        size = 56 if name == "vit_h_14" else 64
        yield functools.partial(build, image_size=size), size
    if name in ("googlenet", "inception_v3"):
        build = functools.partial(build, init_weights=False)
    for size in (64, 96, 128, 224, 299):
        yield build, size
