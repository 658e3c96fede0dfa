"""A thin client of Longshore for Python, on the standard library alone.

The shapes are in `longshore.api`, which is generated from the server's own description (`make clients`); this file adds the calls
that most callers make, and no opinion. It never submits twice by itself and follows no redirect, which would carry the key along.

    jobs = Client("http://127.0.0.1:7070")
    job = jobs.submit("csv.import", {...}, idempotency_key="order-7")
    print(jobs.wait(job["id"])["result"])
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Event, FileView, JobView, Problem

__all__ = ["Client", "Refused"]

_ENDED = ("completed", "failed", "canceled")


class Refused(Exception):
    """The server said no; `problem` says why, field by field (RFC 9457)."""

    def __init__(self, status: int, problem: Problem | None) -> None:
        super().__init__(problem["detail"] if problem else f"status {status}")
        self.status = status
        self.problem = problem


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like others, and none that this client knows."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """One Longshore, at `base_url`."""

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 30.0) -> None:
        self._base = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirects)

    def submit(self, kind: str, payload: Any, *, idempotency_key: str | None = None, **options: Any) -> JobView:
        """Submits a job. With a key a repeat is harmless, so choose one to repeat a submit whose answer was lost."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._json("POST", "/v1/jobs", {"kind": kind, "payload": payload, **options}, headers)

    def job(self, job_id: str, wait: int = 0) -> JobView:
        """Where a job stands; `wait` seconds later at most, if it has not ended by then."""
        return self._json("GET", f"/v1/jobs/{job_id}?wait={wait}", timeout=self._timeout + wait)

    def wait(self, job_id: str) -> JobView:
        """A job's end, however long it takes."""
        while (view := self.job(job_id, wait=30))["state"] not in _ENDED:
            pass
        return view

    def cancel(self, job_id: str) -> JobView:
        """Asks for a job's cancellation."""
        return self._json("POST", f"/v1/jobs/{job_id}/cancel")

    def upload(self, name: str, content: bytes) -> FileView:
        """Uploads an input; a payload names it as `{"file": id}`."""
        path = f"/v1/files?name={urllib.parse.quote(name, safe='')}"
        with self._open("POST", path, content, {"Content-Type": "application/octet-stream"}) as answer:
            return json.load(answer)

    def events(self, job_id: str, after: str | None = None) -> Iterator[Event]:
        """All that happens to a job, to its end; `after` is the id of the last event that is known."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        # A heartbeat comes every quarter of this.
        with self._open("GET", f"/v1/jobs/{job_id}/events", None, headers, timeout=60.0) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: "):])

    def _json(self, method: str, path: str, body: Any = None, headers: dict[str, str] = {}, timeout: float | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with self._open(method, path, data, {"Content-Type": "application/json", **headers}, timeout) as answer:
            return json.load(answer)

    def _open(self, method: str, path: str, data: bytes | None, headers: dict[str, str], timeout: float | None = None) -> Any:
        request = urllib.request.Request(self._base + path, data, {**self._headers, **headers}, method=method)
        try:
            return self._opener.open(request, timeout=timeout or self._timeout)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, _problem(error)) from None


def _problem(error: urllib.error.HTTPError) -> Problem | None:
    """`None` for an answer that is none of Longshore's."""
    if not error.headers.get("Content-Type", "").startswith("application/problem+json"):
        return None
    return json.load(error)
