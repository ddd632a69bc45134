"""Notebooks of a run, executed by papermill side by side, unless their results are current."""

import ast
import logging
import os
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from weakref import WeakSet

import nbformat
import papermill
import torch
import zmq
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode, ValidationError
from traitlets import default

from ifr.common import paths
from ifr.common.errors import Stopped, UserError
from ifr.common.files import FULL, code_hash, disk_full, file_hash, value_hash, written_whole
from ifr.common.hardware import peak_memory, usable_cores
from ifr.experiment import claims, results
from ifr.experiment.run import Run

GO_ON = "what is done is kept; run the same command again to go on"
WIDGET = "application/vnd.jupyter.widget-view+json"


class _Kernel(AsyncKernelManager):
    """This environment's kernel, in cipher if it can: its ports are open to every local user."""

    begun: ClassVar[WeakSet] = WeakSet()  # by this process
    settings: ClassVar[dict[str, str]] = {}  # environment variables

    @default("kernel_spec_manager")
    def _this_environment(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])  # not another python3 that the user installed

    @default("transport_encryption")
    def _encrypted(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"

    async def start_kernel(self, **how: Any) -> None:  # type: ignore[override]
        self.begun.add(self)
        await super().start_kernel(**how | dict(cwd=paths.home(), env=os.environ | self.settings))

    @classmethod
    def kill_all(cls) -> None:
        """End every kernel at once, whatever it does."""
        for kernel in list(cls.begun):
            process = getattr(kernel.provisioner, "process", None)
            if process is not None:
                process.kill()


logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it says, we say
ENGINE = dict(kernel_name="python3", language="python", progress_bar=False, record_timing=False)
QUIET = ["--log-level=CRITICAL"]  # ending a kernel interrupts it, which it may tell as an error


def execute(
    notebooks: Collection[Path],
    run: Run,
    *,
    parameters: dict | None = None,
    force: bool = False,
    begin: Callable[[Path], None] = lambda notebook: None,
) -> list[Path]:
    """Execute the notebooks not current, or all (``force``), side by side; return these.

    ``begin`` is called before each, and may raise. After an error no other is begun, and those in
    work come to their end. A notebook that fails leaves its last result.
    """
    given = dict(profile=run.profile.name, seed=run.seed) | (parameters or {})
    # Two kernels keep two cores busy; more would want memory of 4 GB each.
    kernels = 1 if torch.cuda.is_available() else min(2, usable_cores(), len(notebooks) or 1)
    waiting: dict[Path, Callable[[], None]] = {}
    for notebook in notebooks:
        check_parameters(notebook, given)
        target, key = run.folder / notebook.name, notebook_key(notebook, run, given)
        if not force and is_current(results.record_of(target), key, run):
            _take_over_text(notebook, target)
            print(f"{notebook.name}: kept, nothing changed", flush=True)
        else:
            what = (notebook, target, given, key, usable_cores() // kernels)
            waiting[notebook] = partial(_execute, *what)
    errors: list[Exception] = []

    def follow(notebook: Path) -> None:
        try:
            if not errors:
                begin(notebook)
                waiting[notebook]()
        except Exception as error:
            errors.append(error)

    with ThreadPoolExecutor(kernels) as pool:
        jobs = {notebook: pool.submit(follow, notebook) for notebook in waiting}
        try:
            wait(jobs.values())
        except KeyboardInterrupt:
            errors.insert(0, Stopped(f"stopped: {GO_ON}"))
            while wait(jobs.values(), timeout=0.2).not_done:
                _Kernel.kill_all()
            for notebook in waiting:
                _failed(run.folder / notebook.name).unlink(missing_ok=True)
    if errors:
        raise errors[0]
    return list(waiting)


def _failed(target: Path) -> Path:
    return target.with_name(target.stem + results.FAILED)


def _execute(notebook: Path, target: Path, parameters: dict, key: str, threads: int) -> None:
    """Execute one notebook and write its result with a record of what it used and made."""
    began, last = time.monotonic(), results.record_of(target)
    with TemporaryDirectory() as scratch:
        journal = Path(scratch) / "journal"
        journal.touch()
        executed = _run_cells(notebook, parameters, _failed(target), journal, threads)
        record = results.summarise(journal, target.parent)
    seconds = round(time.monotonic() - began, 1)
    executed.metadata.ifr = record | dict(key=key, seconds=seconds, peak_memory_bytes=peak_memory())
    _write(executed, target)
    _failed(target).unlink()
    for name in set(last.get("files", ())) - results.recorded_files(target.parent):
        (target.parent / name).unlink(missing_ok=True)
    print(f"{notebook.name}: executed in {seconds:.0f} s", flush=True)


def is_current(record: dict, key: str | None, run: Run) -> bool:
    """Whether a result is of this key and of the networks that the run has, and its files whole."""
    known = {variant.name: trained.key for variant, trained in run.networks.items()}
    used = {name: network["key"] for name, network in record.get("networks", {}).items()}
    same = all(known.get(name, used[name]) == used[name] for name in used)
    return bool(key) and same and record.get("key") == key and results.is_intact(run.folder, record)


def check_parameters(notebook: Path, parameters: Collection[str]) -> None:
    """Refuse parameters the notebook does not have: a wrong name would change nothing."""
    known = parameter_names(notebook)
    unknown = ", ".join(sorted(set(parameters) - set(known)))
    if unknown:
        takes = ", ".join(known) or "none"
        raise UserError(f"{notebook.name} has no parameter {unknown}: it takes {takes}")


def parameter_names(notebook: Path) -> list[str]:
    """Return the names set in the cell of a notebook that is tagged ``parameters``."""
    source = next((cell.source for cell in _read(notebook).cells if _is_parameters(cell)), "")
    try:
        tree = ast.parse(TransformerManager().transform_cell(source))  # %magic and !command, too
    except SyntaxError as error:
        where = f"line {error.lineno}, {error.msg}"
        raise UserError(f"the parameters of {notebook.name} are not Python: {where}") from None
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    names = chain.from_iterable(map(ast.walk, targets))
    return [n.id for n in names if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def notebook_key(notebook: Path, run: Run, parameters: dict) -> str:
    """Return the hash of what decides a result: code without comments, settings, files read."""
    kinds = (".csv", ".npy", ".npz")
    inputs = [path for path in sorted(paths.ASSETS.iterdir()) if path.suffix in kinds]
    if parameters.get("weights") == "reference":
        inputs += sorted(paths.reference_weights(run.profile.name).glob("*.safetensors"))
    inputs += claims.inputs(run.folder, run.profile.name, notebook.name[:2])
    code = [cell.source for cell in _code_cells(_read(notebook))]
    hashes = [[path.name, file_hash(path)] for path in inputs]
    run_facts = [run.profile.as_dict(), parameters, run.fingerprints]
    return value_hash([code, library_hash(paths.PACKAGE), run_facts, hashes])


@cache  # 0.7 s, asked for before each notebook
def library_hash(package: Path) -> str:
    """Return a hash of what the modules of a package do."""
    return code_hash(sorted(package.rglob("*.py")))


def _run_cells(
    notebook: Path, parameters: dict, failed: Path, journal: Path, threads: int
) -> NotebookNode:
    """Return the notebook executed in a kernel of its own; ``failed`` follows it cell by cell."""
    # Bars belong in a terminal, not in a saved notebook.
    settings = paths.named() | {"IFR_PROGRESS": "0", results.JOURNAL: str(journal)}
    settings["OMP_NUM_THREADS"] = str(threads)
    kernel = type("Kernel", (_Kernel,), dict(settings=settings))
    try:
        source, target = (
            str(path).replace("{", "{{").replace("}", "}}")  # which papermill would fill
            for path in (notebook, failed)
        )
        how = dict(kernel_manager_class=kernel, extra_arguments=QUIET)
        executed = papermill.execute_notebook(source, target, parameters, **how, **ENGINE)
        outputs = chain.from_iterable(cell.outputs for cell in _code_cells(executed))
        ends = [output.ename for output in outputs if output.output_type == "error"]
        if not ends:
            return executed
        why = f"has a cell that ended early with {ends[0]}"  # no error to papermill: sys.exit(0)
    except papermill.PapermillExecutionError as error:
        why = f"stopped with {error.ename}: {error.evalue}".partition("\n")[0].rstrip(": ")
    except DeadKernelError:
        why = "stopped: its kernel was killed, perhaps out of memory"
    except NoSuchKernel:
        raise UserError("no kernel for notebooks is installed: pip install ipykernel") from None
    except RuntimeError as error:
        why = f"was not begun: {error}"
    except OSError as error:
        if error.errno not in FULL:
            raise
        failed.unlink(missing_ok=True)
        raise disk_full(failed, error.strerror) from error
    advice = f"; open {failed} to see it" if failed.exists() else ""
    raise UserError(f"{notebook.name} {why}{advice}")


def _take_over_text(notebook: Path, target: Path) -> None:
    """Give an executed copy the text that its notebook has by now."""
    executed, cells = _read(target), []
    before, done = [cell.source for cell in executed.cells], iter(_code_cells(executed))
    for cell in _read(notebook).cells:
        cells.append(next(done) if cell.cell_type == "code" else cell)
        if _is_parameters(cell):
            cells.append(next(done))  # the parameters given
    if [cell.source for cell in cells] != before:
        executed.cells = cells
        _write(executed, target)


def _is_parameters(cell: NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", ())


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, ValidationError) as error:
        raise UserError(f"{path} is no notebook: {error!s:.60}".partition("\n")[0]) from None


def _write(notebook: NotebookNode, path: Path) -> None:
    """Write an executed notebook without papermill's clock; HTML stands for the dead widgets."""
    notebook.metadata.papermill = dict(parameters=notebook.metadata.papermill.parameters)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)
    with written_whole(path) as temporary:
        nbformat.write(notebook, temporary)
