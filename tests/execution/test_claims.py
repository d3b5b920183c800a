"""Claims of the dead are cleared away, those of the living stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from multibench.execution.claims import Claims
from tests.support.claims import dead_owner


def test_a_dead_process_that_nobody_waited_for_holds_no_claim(tmp_path: Path) -> None:
    """A worker that was killed while the process which started it goes on."""
    command = (
        f"from pathlib import Path; from multibench.execution.claims import Claims; "
        f"Claims(Path({str(tmp_path)!r})).take('run'); print('taken', flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"taken\n"
    claims = Claims(tmp_path)
    assert claims.take("run") is None
    process.kill()
    deadline = time.monotonic() + 20
    while (mine := claims.take("run")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mine.release()
    process.communicate()


def test_only_claims_of_the_dead_are_cleared(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    claims.clear_dead()  # no folder yet: nothing to do
    mine = claims.take("living")
    assert mine is not None
    # What a process leaves that was killed between storing its run and releasing the claim.
    (tmp_path / "claims" / "dead").write_text(json.dumps(dead_owner()), "utf-8")
    assert claims.living() == {"living"}
    # A number that means another process, or none, in the container of one's own: only age tells.
    elsewhere = tmp_path / "claims" / "elsewhere"
    elsewhere.write_text(json.dumps({**dead_owner(), "namespace": "pid:[1]"}), "utf-8")
    claims.clear_dead()
    assert sorted(path.name for path in (tmp_path / "claims").glob("[!.]*")) == ["elsewhere", "living"]
    os.utime(elsewhere, (time.time() - 100,) * 2)
    claims.clear_dead()
    assert claims.living() == {"living"}
    mine.release()
    assert not list((tmp_path / "claims").glob("[!.]*"))
