"""Start-up costs little: `import unifusion` and `unifusion --help` import neither torch nor transformers."""

import os
import subprocess
import sys

import pytest

HELP = [sys.executable, "-m", "unifusion", "--help"]


def cpu_seconds(command):
    """User and system seconds of one run of a command."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


IMPORT = [sys.executable, "-c", "import unifusion"]


@pytest.mark.alone
@pytest.mark.parametrize("command", [HELP, IMPORT])
def test_it_takes_less_than_three_tenths_of_a_second(command):
    cpu_seconds(command)  # writes the byte code
    # The least of five: neighbours on a busy machine can only add to the time.
    assert min(cpu_seconds(command) for _ in range(5)) <= 0.3


@pytest.mark.parametrize("words", [["--help"], ["chat", "--help"], ["train", "--help"], ["list", "encoders"], ["--version"]])
def test_no_heavy_module_is_imported(words):
    code = (
        "import sys; from unifusion.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'numpy', 'av', 'gradio', 'PIL', 'rich'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_import_unifusion_alone_is_light():
    code = "import sys, unifusion; sys.exit(str({'torch', 'transformers', 'numpy'} & set(sys.modules)) if 'torch' in sys.modules else 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "order",
    [
        "import unifusion.models.chat",
        "from unifusion.engine import Engine",
        "from unifusion.processor import UniFusionProcessor",
        "from transformers import AutoModelForMultimodalLM; import unifusion",
    ],
)
def test_the_auto_classes_know_us_in_whatever_order_things_are_imported(order):
    code = (
        f"{order}; from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor;"
        "from transformers.models.auto.processing_auto import PROCESSOR_MAPPING;"
        "from unifusion.models.config import UniFusionConfig as C;"
        "config = AutoConfig.for_model('unifusion');"
        "print(type(config) is C, AutoModelForMultimodalLM._model_mapping[C].__name__, PROCESSOR_MAPPING[C].__name__)"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "True UniFusionForConditionalGeneration UniFusionProcessor", run.stderr[-600:]
