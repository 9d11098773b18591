"""Shapes of usage and of the reports of other installations."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tidegate.api.schemas.common import Page, Shape

MOST = 1e15
"""More of anything is a mistake: 1e15 bytes of CPU-seconds are a million CPUs for thirty years."""
_HOUR = "such as `2026-01-31T08:00:00Z`"


class UsageSums(BaseModel):
    """Sums over the jobs that ended in a time, with all that their attempts used."""

    jobs: int
    succeeded: int
    failed: int
    cancelled: int
    attempts: int
    cpu_seconds: float = Field(description="As the kernel counted them for the processes of attempts.")
    wall_seconds: float = Field(description="For which attempts ran.")
    allocated_cpu_seconds: float = Field(description="CPUs times the seconds for which they were allocated.")
    allocated_gib_seconds: float = Field(description="GiB times the seconds for which they were allocated.")
    peak_gib_seconds: float = Field(
        description="The peak of each attempt times its seconds: what it used at most."
    )


class UsageTotal(UsageSums):
    """Sums, and how long jobs waited for their first start; null when none was started."""

    wait_mean_s: float | None
    wait_p95_s: float | None = Field(description="Within 11.1 % of the true one.")


class UsageRow(UsageTotal):
    name: str = Field(description="The user, queue or kind.")


class UsagePage(Page[UsageRow]):
    """Usage by name. `from` and `to` are whole hours; `total` is that of all pages."""

    by: Literal["user", "queue", "kind"]
    from_: str = Field(alias="from")
    to: str
    total: UsageTotal


class ResourceStep(BaseModel):
    """What a worker or server felt in one step of time: the worst of each reading."""

    at: str = Field(description="Begin of the step.")
    place: str
    level: Literal["normal", "warn", "critical", "emergency"]
    samples: int = Field(description="Minutes that were read.")
    readings: dict[str, float]


class ReportedSums(Shape):
    """As `total` of `GET /api/v1/usage`; waits may be left in and are not kept."""

    jobs: int = Field(ge=0, le=MOST)
    succeeded: int = Field(0, ge=0, le=MOST)
    failed: int = Field(0, ge=0, le=MOST)
    cancelled: int = Field(0, ge=0, le=MOST)
    attempts: int = Field(0, ge=0, le=MOST)
    cpu_seconds: float = Field(0.0, ge=0, le=MOST)
    wall_seconds: float = Field(0.0, ge=0, le=MOST)
    allocated_cpu_seconds: float = Field(0.0, ge=0, le=MOST)
    allocated_gib_seconds: float = Field(0.0, ge=0, le=MOST)
    peak_gib_seconds: float = Field(0.0, ge=0, le=MOST)
    wait_mean_s: float | None = Field(None, ge=0, le=MOST)
    wait_p95_s: float | None = Field(None, ge=0, le=MOST)


class StatisticsReport(Shape):
    """What an installation used in a time."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "installation": "plant-2",
                "version": "0.1.0",
                "from": "2026-01-31T00:00:00Z",
                "to": "2026-02-01T00:00:00Z",
                "usage": {"jobs": 120, "succeeded": 117, "failed": 3, "cpu_seconds": 5400.5},
            }
        }
    )
    installation: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="Its name, the same each time."
    )
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}$", description="Of its Tidegate.")
    from_: str = Field(alias="from", max_length=40, description=f"Begin of the time, {_HOUR}.")
    to: str = Field(
        max_length=40, description="End of the time; after `from`, at most 366 days, and not to come."
    )
    usage: ReportedSums


class StatisticsKept(BaseModel):
    installation: str
    from_: str = Field(alias="from")
    to: str
    replaced: bool = Field(description="Whether it took the place of a report about the same time.")


class StatisticsSummary(BaseModel):
    """The reports of a time, added up."""

    installations: int
    reports: int
    from_: str | None = Field(alias="from", description="Begin of the first report's time; null without any.")
    to: str | None = Field(description="End of the last one's.")
    usage: UsageSums
    versions: dict[str, int] = Field(description="Installations by the version they named last.")
