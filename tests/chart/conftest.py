import pytest


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite golden/ from what the chart renders now")


@pytest.fixture
def update_golden(request):
    return request.config.getoption("--update-golden")
