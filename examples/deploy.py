"""A trained network as an ONNX file, run without PyTorch.

python examples/deploy.py --model runs/mine/best.ckpt     # or a folder of dn.save_pretrained
"""

import argparse
from pathlib import Path

import numpy as np

import decoupled_nets as dn
from decoupled_nets.evaluation.trained import load_trained
from decoupled_nets.export import export_network


def main() -> float:
    """Export and run; return the largest difference between file and network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, help="a checkpoint or a folder; by default one with new weights"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/deployed"))
    arguments = parser.parse_args()

    place = arguments.model
    if place is None:
        network = dn.create_model("cnn9", num_classes=10, operator="tanh-cos", width=0.0625)
        place = dn.save_pretrained(network, arguments.out / "network")
    trained = load_trained(place)

    # Layers are fused, the file is run on two batch sizes and compared with the network before it is kept.
    done = export_network(
        trained.network, arguments.out / "network.onnx", in_chans=trained.in_chans,
        image_size=trained.image_size, dynamic_size=False,
    )  # fmt: skip
    print(
        f"{done.path}: largest difference {done.difference:.1e}, time {done.speed.median:.2f} of eager mode"
    )

    # From here on numpy and onnxruntime are enough.
    import onnxruntime

    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for batch in (1, 4):
        images = np.random.rand(batch, trained.in_chans, *trained.image_size).astype(np.float32)
        (logits,) = session.run(None, {name: images})
        print(f"{batch} images: classes {logits.argmax(1).tolist()}")
    return done.difference


if __name__ == "__main__":
    main()
