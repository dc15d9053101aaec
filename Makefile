PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.residet-installed
# The pure-Python copy of detectron2 inside this wheel serves where detectron2 itself is not installed.
LABGYM := labgym==3.1.2

.PHONY: setup demo test fuzz chaos soak bench docs lint format clean

setup: $(STAMP)

$(STAMP): pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("detectron2") is None)' || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python $(LABGYM)
	$(BIN)/python tools/doctor.py
	touch $@

demo: setup
	rm -rf output/demo
	$(BIN)/python tools/demo.py --output output/demo

# worksteal, as loadfile runs a test that ends its worker again and again, and then waits for ever (pytest-xdist 3.8).
test: setup
	$(BIN)/python -m pytest -q -n 3 --dist worksteal --max-worker-restart 8 --durations 15

# Bad values and damaged files, for MINUTES.
MINUTES ?= 30
fuzz: setup
	PYTHONPATH=.:tests/helpers $(BIN)/python tests/guard/fuzz.py --minutes $(MINUTES)

# Runs that are killed, cut off and torn at random, counted in output/chaos/chaos.json. A second call goes on.
chaos: setup
	PYTHONPATH=.:tests/helpers $(BIN)/python tests/guard/chaos.py --minutes $(MINUTES) --output output/chaos

# Memory, open files and threads of long trainings, in output/soak.
soak: setup
	PYTHONPATH=.:tests/helpers $(BIN)/python tests/guard/soak.py --minutes $(MINUTES) --output output/soak

# Speed against peers, on a machine without other work. IMAGES: folder with CLASS/*.jpg.
bench: setup
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evaluation.py
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python benchmarks/classification_input.py $(IMAGES)
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python benchmarks/detection_input.py $(IMAGES)
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python benchmarks/start_time.py
	PYTHONPATH=. $(BIN)/python benchmarks/backbone_inference.py
	PYTHONPATH=. $(BIN)/python benchmarks/detector_inference.py
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training_step.py
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python benchmarks/loop_overhead.py
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python benchmarks/cost_against_work.py
	$(BIN)/python docs/write_benchmarks.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python docs/write_config.py
	$(BIN)/python docs/write_results.py
	$(BIN)/python docs/write_benchmarks.py

clean:
	rm -rf $(VENV) output *.egg-info
