"""One notebook of a run: executed with its parameters, unless its last result is still current."""

import ast
import os
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import zmq
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from papermill.translators import translate_parameters
from traitlets import default

from ifr.common import paths
from ifr.common.errors import NotebookFailed, Stopped, UserError
from ifr.common.files import code_hash, file_hash, value_hash, written_whole
from ifr.common.hardware import peak_memory
from ifr.experiment import claims, results
from ifr.experiment.run import Run

GIVEN = "injected-parameters"  # papermill's tag of the cell that holds the parameters given
WIDGET = "application/vnd.jupyter.widget-view+json"
CLAIMS = "12_claims"  # reads what the other notebooks, and the run on photographs, left


class _Kernel(AsyncKernelManager):
    """A kernel of this very environment, spoken to in cipher where the libraries can.

    Its ports are open to every user of the machine; ipykernel warns of it when they are plain.
    """

    @default("kernel_spec_manager")
    def _this_environment(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])  # not another python3 that the user installed

    @default("transport_encryption")
    def _encrypted(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"


def execute(
    notebook: Path, run: Run, *, parameters: dict | None = None, force: bool = False
) -> bool:
    """Execute one notebook into the results folder; return False when its result was current.

    A current result takes over the notebook's text, should that have changed. A notebook that fails
    leaves ``NN_name.failed.ipynb`` to read and its last good result in place.

    Raises:
        NotebookFailed: naming the notebook, the error and the copy to open.
        UserError: for an unknown parameter.
        Stopped: on Ctrl-C.
    """
    parameters = dict(profile=run.profile.name, seed=run.seed) | (parameters or {})
    check_parameters(notebook, parameters)
    target = run.folder / notebook.name
    key, last = notebook_key(notebook, run, parameters), results.record_of(target)
    if not force and last.get("key") == key and results.is_intact(run.folder, last):
        _take_over_text(notebook, target)
        return False
    executed, began = _with_parameters(_read(notebook), parameters), time.monotonic()
    failed = run.folder / f"{notebook.stem}{results.FAILED}"
    with TemporaryDirectory() as scratch:
        journal = Path(scratch) / "journal"
        try:
            _run_cells(executed, {results.JOURNAL: str(journal)})
        except (CellExecutionError, DeadKernelError) as error:
            _write(executed, failed)
            raise NotebookFailed(
                f"{notebook.name}{_words(error)}; open {failed} to see it"
            ) from error
        except KeyboardInterrupt:
            raise Stopped(
                f"stopped in {notebook.name}: what is done is kept; run the same command again to "
                "go on"
            ) from None
        record = results.summarise(journal, run.folder)
    seconds = round(time.monotonic() - began, 1)
    executed.metadata["ifr"] = dict(
        key=key, seconds=seconds, peak_memory_bytes=peak_memory(), **record
    )
    _write(executed, target)
    failed.unlink(missing_ok=True)
    results.remove_unrecorded(run.folder, last.get("files", ()))
    return True


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse parameters the notebook does not have: a wrong name would change nothing.

    Raises:
        UserError: naming the unknown parameters and the known ones.
    """
    known = parameter_names(notebook)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise UserError(
            f"{notebook.name} has no parameter {', '.join(unknown)}: it takes "
            f"{', '.join(known) or 'none'}"
        )


def parameter_names(notebook: Path) -> list[str]:
    """Return the names set in the cell of a notebook that is tagged ``parameters``."""
    cells = [cell.source for cell in _read(notebook).cells if is_parameters(cell)]
    try:
        nodes = [node for source in cells[:1] for node in ast.parse(source).body]
    except SyntaxError as error:
        raise UserError(
            f"the parameters of {notebook.name} are not Python: line {error.lineno}, {error.msg}"
        ) from None
    names = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            names.append(node.target.id)
    return names


def is_parameters(cell: NotebookNode) -> bool:
    """Return whether a cell is tagged as the one that sets the parameters."""
    return "parameters" in cell.metadata.get("tags", ())


def notebook_key(notebook: Path, run: Run, parameters: dict) -> str:
    """Return the content hash of all that decides what an execution gives.

    Of the library that is what the code does, not its comments; of the notebook its code, not its
    text.
    """
    assets = [
        path for path in sorted(paths.ASSETS.iterdir()) if path.suffix in (".csv", ".npy", ".npz")
    ]
    inputs = [*assets, *files_read(notebook, run, parameters)]
    return value_hash(
        [
            [cell.source for cell in _read(notebook).cells if cell.cell_type == "code"],
            library_hash(paths.PACKAGE),
            run.profile.as_dict(),
            parameters,
            run.fingerprints,
            [[path.name, file_hash(path)] for path in inputs],
        ]
    )


def files_read(notebook: Path, run: Run, parameters: dict) -> list[Path]:
    """Return the files that a notebook reads of what other notebooks and runs left."""
    files: list[Path] = []
    if parameters.get("weights") == "reference":
        files += sorted(paths.reference_weights(run.profile.name).glob("*.safetensors"))
    if notebook.stem == CLAIMS:
        photographs = claims.photographs_file()
        files += claims.evidence_files(run.folder / "tables")
        files += [] if photographs is None else [photographs]
    return files


def library_hash(package: Path) -> str:
    """Return a hash of what the modules of a package do."""
    sources = sorted(package.rglob("*.py"))
    return _hash_of(tuple((source, source.stat().st_mtime_ns) for source in sources))


@cache
def _hash_of(stamped: tuple[tuple[Path, int], ...]) -> str:
    return code_hash(source for source, _ in stamped)  # 0.7 s, asked for before each notebook


def _run_cells(notebook: NotebookNode, environment: dict[str, str]) -> None:
    """Execute every cell in place, in a kernel of its own."""
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_manager_class=_Kernel,
        shutdown_kernel="immediate",
        record_timing=False,
    )
    # Bars belong in a terminal, not in a saved notebook.
    environment = os.environ | dict(IFR_PROGRESS="0") | environment
    with client.setup_kernel(env=environment, cwd=str(paths.home())):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    notebook.metadata["language_info"] = dict(name="python", pygments_lexer="ipython3")


def _words(error: CellExecutionError | DeadKernelError) -> str:
    if isinstance(error, DeadKernelError):
        return ": its kernel was killed, perhaps out of memory"
    return f" stopped with {error.ename}: {error.evalue}"


def _with_parameters(notebook: NotebookNode, parameters: dict) -> NotebookNode:
    """Return a notebook with the parameters given in a cell after its own, as papermill does."""
    source = translate_parameters("python3", "python", parameters, "Parameters")
    given = nbformat.v4.new_code_cell(source, id=GIVEN, metadata=dict(tags=[GIVEN]))
    tagged = [is_parameters(cell) for cell in notebook.cells]
    notebook.cells.insert(tagged.index(True) + 1, given)
    notebook.metadata["papermill"] = dict(parameters=parameters)
    return notebook


def _take_over_text(notebook: Path, target: Path) -> None:
    """Give an executed copy the text that its notebook has by now."""
    source, executed = _read(notebook), _read(target)
    done, cells = iter([c for c in executed.cells if c.cell_type == "code"]), []
    for cell in source.cells:
        cells.append(next(done) if cell.cell_type == "code" else cell)
        if is_parameters(cell):
            cells.append(next(done))  # the parameters given
    if [c.source for c in cells] != [c.source for c in executed.cells]:
        executed.cells = cells
        _write(executed, target)


def _read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def _write(notebook: NotebookNode, path: Path) -> None:
    """Write an executed notebook without widgets, which are dead without their kernel.

    What they show stands beside them as HTML.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)
    with written_whole(path) as temporary:
        nbformat.write(notebook, temporary)
