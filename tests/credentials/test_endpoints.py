from __future__ import annotations

import pytest

from voicepilot.credentials.endpoints import checked_azure_endpoint, checked_base_url
from voicepilot.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1///", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://localhost:1/v1", "http://localhost:1/v1"),
        ("https://ai-gateway.contoso.example/openai/v1", "https://ai-gateway.contoso.example/openai/v1"),
        ("https://azure-openai.contoso.example/v1", "https://azure-openai.contoso.example/v1"),
        ("https://mine.openai.azure.com/openai/v1/", "https://mine.openai.azure.com/openai/v1"),
        ("HTTPS://API.OpenAI.com/v1", "https://api.openai.com/v1"),
    ],
)
def test_a_base_url_that_may_be_used(given: str, used: str) -> None:
    assert checked_base_url(given) == used


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("http://api.openai.com/v1", "unencrypted"),
        ("http://localhost.evil.example/v1", "unencrypted"),
        ("http://127.0.0.1.evil.example/v1", "unencrypted"),
        ("ftp://127.0.0.1/v1", "uses ftp"),
        ("https://user:hunter2@api.openai.com/v1", "user name or password"),
        ("https://api.openai.com/v1?x=1", "query"),
        ("https://api.openai.com/v1#x", "fragment"),
        ("https://evil.example\\@api.openai.com/v1", "backslash"),
        ("https://api.openai.com/v1\n", "blanks"),
        ("https://x.openai.azure.com.evil.example/openai/v1", "looks like"),
        ("https://x.openai.azure.com.evil.example./openai/v1", "looks like"),
        ("https://evil.example/x.openai.azure.com/openai/v1", "looks like"),
        ("https://xopenai.azure.com/openai/v1", "looks like"),
        ("https://a.b.openai.azure.com/openai/v1", "looks like"),
        ("https://\u0430pi.openai.com/v1", "not ASCII"),
        ("api.openai.com/v1", "not an address"),
        ("", "not an address"),
        ("https://", "not an address"),
        ("https://api.openai.com:notaport/v1", "not an address"),
    ],
)
def test_a_base_url_that_is_refused_says_why(given: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        checked_base_url(given)
    assert caught.value.field == "base_url"
    assert caught.value.remediation
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://mine.openai.azure.com", "https://mine.openai.azure.com"),
        ("https://mine.openai.azure.com/", "https://mine.openai.azure.com"),
        ("https://mine.openai.azure.com//", "https://mine.openai.azure.com"),
        ("https://mine.openai.azure.com/openai/v1/", "https://mine.openai.azure.com"),
        ("https://mine.openai.azure.com./", "https://mine.openai.azure.com."),
        ("https://mine.cognitiveservices.azure.com/", "https://mine.cognitiveservices.azure.com"),
        ("https://mine.services.ai.azure.com/", "https://mine.services.ai.azure.com"),
        ("https://mine.openai.azure.us", "https://mine.openai.azure.us"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9"),
    ],
)
def test_an_azure_endpoint_that_may_be_used(given: str, used: str) -> None:
    assert checked_azure_endpoint(given) == used


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("https://evil.example/x.openai.azure.com", "not in an Azure OpenAI domain"),
        ("https://mine.openai.azure.com.evil.example", "not in an Azure OpenAI domain"),
        ("https://openai.azure.com", "not in an Azure OpenAI domain"),
        ("https://.openai.azure.com", "not in an Azure OpenAI domain"),
        ("https://mine.openai.azure.com@evil.example", "user name or password"),
        ("https://mine.openai.azure.com/other", "has a path"),
        ("http://mine.openai.azure.com", "unencrypted"),
    ],
)
def test_an_azure_endpoint_that_is_refused_says_why(given: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        checked_azure_endpoint(given)
    assert caught.value.field == "azure_endpoint"
