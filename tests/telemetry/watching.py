"""A world whose manager is instrumented, with an SDK that keeps spans and figures in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support import World

from voicepilot.telemetry import Telemetry, WatchedKeyService, instrument
from voicepilot.testing import FakeKeyService


class Watched(World):
    """A world that is instrumented."""

    def __init__(
        self, *, keys: FakeKeyService | None = None, watch: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.fake = keys or FakeKeyService()
        self._watched = WatchedKeyService(self.fake)
        super().__init__(keys=self._watched, **options)  # type: ignore[arg-type]  # it passes on what the fake has
        self.spans_kept = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans_kept))
        self._tracers, self._meters = tracers, MeterProvider([self.reader], shutdown_on_exit=False)
        self._options: dict[str, Any] = watch or {}
        self.telemetry = self.instrumented()

    def instrumented(self) -> Telemetry:
        """Instrument the manager (again)."""
        return instrument(
            self.manager,
            self._watched,
            tracer_provider=self._tracers,
            meter_provider=self._meters,
            now=self.clock.now,
            **self._options,
        )

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """The spans that have ended, of one name if asked, in the order they ended."""
        return [span for span in self.spans_kept.get_finished_spans() if name in {None, span.name}]

    def figures(self) -> MetricsData | None:
        """What a reader would export now."""
        return self.reader.get_metrics_data()

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], float]:
        """A metric's values by its attributes; of a histogram the sum."""
        data = self.figures()
        found = [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return {
            tuple(sorted((point.attributes or {}).items())): round(
                point.value if hasattr(point, "value") else point.sum,
                6,
            )
            for point in found
        }


@asynccontextmanager
async def a_watched_world(**options: Any) -> AsyncIterator[Watched]:
    world = Watched(**options)
    async with world.manager:
        yield world
    world.telemetry.dispose()
    assert world.leftovers() == []


def seconds(span: ReadableSpan) -> float:
    """How long a span lasted."""
    return round(((span.end_time or 0) - (span.start_time or 0)) / 1e9, 3)


def links(span: ReadableSpan) -> dict[str, int]:
    """What a span is linked to: kind and span id."""
    return {str((link.attributes or {})["voicepilot.link"]): link.context.span_id for link in span.links}


def own_id(span: ReadableSpan) -> int:
    return span.context.span_id if span.context else 0
