"""An ONNX graph of a recogniser with products in 8 bits, by onnxruntime's dynamic quantisation."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory


def quantise(graph: Path, output: Path) -> None:
    """Write a graph whose linear layers have weights of 8 bits, a scale for each layer.

    The filterbank stays in float32, as energies span ten orders of magnitude, and so does the layer of scores, the last
    one. So do convolutions: in 8 bits they take longer.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.onnx"
        # weights that the graph makes of others become constants, without which a product stays in float32
        quant_pre_process(graph, folded, skip_symbolic_shape=True)
        nodes = [node for node in onnx.load(folded).graph.node if node.op_type == "MatMul"]
        filterbank = [node.name for node in nodes if any("filterbank" in name for name in node.input)]
        quantize_dynamic(
            folded,
            output,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[*filterbank, nodes[-1].name],
            # signed ones overflow on processors without instructions for them
            weight_type=QuantType.QUInt8,
        )
    model = onnx.load(output)
    used = {node.domain for node in model.graph.node}
    imports = [one for one in model.opset_import if one.domain in used]  # onnxruntime names all that it knows
    del model.opset_import[:]
    model.opset_import.extend(imports)
    onnx.save(model, output)
