# make lab     set up, then open the course in JupyterLab     (LAB_ARGS="--no-browser --port 8890" is passed on)
# make test    set up, then the whole suite: the package's tests, and every notebook against its stored outputs
# make notebooks    re-execute every notebook in place      (one: NOTEBOOKS=notebooks/01_stft.ipynb)
# make results DATA=FOLDER    run every experiment that is missing, then write the table of results    (FULL=--full: on a GPU)
# make figures    redraw the static diagrams
# make colab REPO=owner/name REF=tag    put a Colab badge and the course's address into the notebooks    (REPO= takes them out)
# make assignments    write the student copies of the assignments      make grade SUBMITTED=FOLDER    grade what was handed in
# make test-slow    the tests that take minutes, which `make test` leaves out: every trick on the grader
# make test-machines    run lessons and numerical tests as on four other kinds of machine, and say what is close to its tolerance
# make test-gpu WHEELS=FOLDER    run GPU tests and lessons beside an NVIDIA GPU, without a network      make wheels WHEELS=FOLDER    fill that folder
# make test-alone    run each notebook alone, in an empty folder       (some: ALONE='0[67]*')
# make mutants    change the package in one place at a time, and say which changes no test notices    (some: MUTANTS='splits --all')
# make test-browser    go through every lesson in a real browser
# make test-oldest    the suite with the oldest versions that pyproject.toml allows      make test-newest    with the newest, without torchaudio
# make lint    style and types      make docs    write the API reference into reference/
# make clean-data    empty the cache folder, asking first (YES=1: not)      make clean    remove the set-up

FITS := import sys; (3, 11, 4) <= sys.version_info < (3, 14) or sys.exit(1)
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed
# nbgrader adds menus to JupyterLab, which students should not get: it has an environment of its own.
INSTRUCTOR := .venv-instructor/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb notebooks/assignments/source/*/*.ipynb)
LAB_ARGS ?=
# In a container one is often root, and JupyterLab then starts only when told so.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: install install-instructor lab test test-slow test-machines test-gpu wheels test-alone mutants test-browser test-oldest test-newest notebooks \
	results figures colab assignments grade lint docs clean-data clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo "$(PYTHON) is not Python 3.11 (from 3.11.4), 3.12 or 3.13: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	$(BIN)/python -c '$(FITS); import pip' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[lab,test]'
	touch $(INSTALLED)

install-instructor: .venv-instructor/installed

.venv-instructor/installed: $(INSTALLED)
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-instructor
	$(BIN)/uv pip install --python $(INSTRUCTOR)/python --compile-bytecode -c constraints.txt -e '.[instructor]'
	touch $@

lab: install
	$(BIN)/python -m course_utils data mini
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(AS_ROOT) $(LAB_ARGS)

# The whole suite, with the Python of one environment. One thread per process: the processes share the cores already. What
# takes longest begins, so that no core waits for the last of it.
LONGEST_TESTS := $(wildcard $(addprefix tests/test_,assignments.py grading.py training.py sweep.py cli.py mini.py))
LONGEST_NOTEBOOKS := $(wildcard $(addprefix notebooks/,09_* 10_* 12_* 07_* 11_*))
define suite
	OMP_NUM_THREADS=1 $(1)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder $(LONGEST_TESTS) tests
	OMP_NUM_THREADS=1 COURSE_SIZE=lesson COURSE_DATA=mini $(1)/python -m pytest -q -n auto --dist loadscope --no-loadscope-reorder \
		--nbval $(LONGEST_NOTEBOOKS) notebooks
endef

test: install install-instructor lint
	$(call suite,$(BIN))

test-slow: install install-instructor
	COURSE_SLOW=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -m slow tests

test-machines: install
	$(BIN)/python tests/machines/run.py

# With the Python that has torch for this GPU; it needs no set-up and no network.
test-gpu:
	$(PYTHON) tests/gpu/run.py $(if $(WHEELS),--wheels '$(WHEELS)') $(GPU_ARGS)

wheels: install
	$(BIN)/python tests/gpu/run.py wheels '$(WHEELS)'

test-alone: install
	COURSE_ALONE='$(or $(ALONE),*)' OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --durations=0 tests/test_alone.py

mutants: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[mutants]'
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

test-browser: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[browser]'
	$(BIN)/python -m pytest -q tests/browser

# uv takes a Python that is on the PATH, or fetches one.
test-oldest: install install-instructor
	$(BIN)/uv venv --quiet --allow-existing --python 3.11 .venv-oldest
	$(BIN)/uv pip install --python .venv-oldest/bin/python --resolution lowest-direct -e '.[lab,test]'
	$(call suite,.venv-oldest/bin)

test-newest: install install-instructor
	$(BIN)/uv venv --quiet --allow-existing --python 3.13 .venv-newest
	$(BIN)/uv pip install --python .venv-newest/bin/python --upgrade -e '.[test]'
	$(call suite,.venv-newest/bin)

notebooks: install
	COURSE_SIZE=lesson COURSE_DATA=mini $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS)

results: install
	$(BIN)/python -m course_utils results $(if $(DATA),--data $(DATA)) $(FULL)

figures: install
	$(BIN)/python -c "from course_utils.lessons import diagrams; diagrams.save_all('figures')"

colab: install
	$(BIN)/python notebooks/colab.py $(if $(filter undefined,$(origin REPO)),,--repo '$(REPO)') $(if $(REF),--ref '$(REF)')

assignments: install-instructor
	$(INSTRUCTOR)/python notebooks/assignments/grade.py release

grade: install-instructor
	@test -n "$(SUBMITTED)" || { echo "Say where the submissions are: make grade SUBMITTED=FOLDER, with a folder in it for each student"; exit 1; }
	$(INSTRUCTOR)/python notebooks/assignments/grade.py grade "$(SUBMITTED)"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[docs]'
	$(BIN)/pdoc --docformat google --output-directory reference course_utils '!course_utils.cli' '!course_utils.lessons'

clean-data: install
	$(BIN)/python -m course_utils clean $(if $(YES),--yes)

clean:
	rm -rf .venv .venv-instructor .venv-oldest .venv-newest .pytest_cache .ruff_cache .mypy_cache .hypothesis reference *.egg-info
