# make lab     set up, then open the course in JupyterLab     (LAB_ARGS="--no-browser --port 8890" is passed on)
# make test    set up, then the whole suite: the package's tests, and every notebook against its stored outputs
# make notebooks    re-execute every notebook in place      (one: NOTEBOOKS=notebooks/01_stft.ipynb)
# make results DATA=FOLDER    run every experiment that is missing, then write the table of results    (FULL=--full: on a GPU)
# make figures    draw the static diagrams anew
# make colab    write the project's address, from pyproject.toml, into the notebooks
# make lint    style      make clean    remove the set-up

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11, 4) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
LAB_ARGS ?=
# In a container one is often root, and JupyterLab then starts only when told so.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: install lab test notebooks results figures colab lint clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[lab,test]'
	touch $(INSTALLED)

lab: install
	$(BIN)/python -m course_utils data mini
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(AS_ROOT) $(LAB_ARGS)

# One thread a process: the processes share the cores already.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadscope --nbval notebooks

notebooks: install
	COURSE_SIZE=lesson COURSE_DATA=mini $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS)

results: install
	$(BIN)/python -m course_utils results $(if $(DATA),--data $(DATA)) $(FULL)

figures: install
	$(BIN)/python -c "from course_utils import diagrams; diagrams.save_all('figures')"

colab: install
	$(BIN)/python notebooks/colab.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
