"""Every error of the libraries below has a meaning of ours; a new one fails here first."""

from __future__ import annotations

import errno

import botocore.exceptions
import obstore.exceptions
import pytest

from cloudmig.destinations import obstore_errors, s3_control
from cloudmig.destinations.answers import Unacceptable, error_for
from cloudmig.errors import (
    CloudmigError,
    ConfigError,
    DestinationRefused,
    DestinationUnavailable,
    Disposition,
    ObjectArchived,
)

KEY = "v1/main/ab/1.2.3/4.5.6/7.8.9.dcm"

#: Looked at once, with botocore 1.44. What is not in a list of `s3_control` is a setting.
REVIEWED = """
AliasConflictParameterError ApiVersionNotFoundError AwsChunkedWrapperError
BaseEndpointResolverError BotoCoreError CapacityNotAvailableError ChecksumError ClientError
ConfigNotFound ConfigParseError ConnectTimeoutError ConnectionClosedError ConnectionError
CredentialRetrievalError DataNotFoundError EndpointConnectionError EndpointProviderError
EndpointResolutionError EndpointVariantError EventStreamError FlexibleChecksumError
HTTPClientError ImminentRemovalWarning IncompleteReadError InfiniteLoopConfigError
InvalidChecksumConfigError InvalidConfigError InvalidDNSNameError InvalidDefaultsMode
InvalidEndpointConfigurationError InvalidEndpointDiscoveryConfigurationError
InvalidExpressionError InvalidHostLabelError InvalidIMDSEndpointError
InvalidIMDSEndpointModeError InvalidMaxRetryAttemptsError InvalidProxiesConfigError
InvalidRegionError InvalidRetryConfigurationError InvalidRetryModeError
InvalidS3AddressingStyleError InvalidS3UsEast1RegionalEndpointConfigError
InvalidSTSRegionalEndpointsConfigError LoginAuthorizationCodeError LoginError
LoginInsufficientPermissions LoginRefreshRequired LoginTokenLoadError MD5UnavailableError
MetadataRetrievalError MissingDependencyException MissingParametersError MissingServiceIdError
NoAuthTokenError NoCredentialsError NoRegionError OperationNotPageableError PaginationError
ParamValidationError PartialCredentialsError ProfileNotFound ProxyConnectionError RangeError
ReadTimeoutError RefreshWithMFAUnsupportedError ResponseStreamingError SSLError SSOError
SSOTokenLoadError ServiceNotInRegionError StubAssertionError StubResponseError
TokenRetrievalError UnStubbedResponseError UnauthorizedSSOTokenError
UndefinedModelAttributeError UnknownClientMethodError UnknownCredentialError
UnknownEndpointError UnknownEndpointResolutionBuiltInName UnknownFIPSEndpointError
UnknownKeyError UnknownParameterError UnknownRegionError UnknownServiceError
UnknownServiceStyle UnknownSignatureVersionError UnknownTokenProviderError
UnseekableStreamError UnsupportedOutpostResourceError
UnsupportedS3AccesspointConfigurationError UnsupportedS3ArnError
UnsupportedS3ConfigurationError UnsupportedS3ControlArnError
UnsupportedS3ControlConfigurationError UnsupportedServiceProtocolsError
UnsupportedSignatureVersionError UnsupportedTLSVersionWarning ValidationError WaiterConfigError
WaiterError
"""


def exceptions_of(module: object, package: str) -> set[type[BaseException]]:
    return {
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, BaseException)
        and found.__module__.startswith(package)
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_error_of_obstore_has_a_meaning() -> None:
    theirs = exceptions_of(obstore.exceptions, "obstore")
    unused = {obstore.exceptions.NotFoundError}  # It raises FileNotFoundError instead.

    assert len(theirs) > 5
    assert theirs - unused <= set(obstore_errors.MEANINGS)


def test_every_error_of_botocore_was_looked_at() -> None:
    """A new one would count as a wrong setting, and a wrong setting halts the agent."""
    theirs = exceptions_of(botocore.exceptions, "botocore")

    assert {error.__name__ for error in theirs} <= set(REVIEWED.split())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (botocore.exceptions.EndpointConnectionError(endpoint_url=KEY), DestinationUnavailable),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url=KEY), DestinationUnavailable),
        (botocore.exceptions.ReadTimeoutError(endpoint_url=KEY), DestinationUnavailable),
        (botocore.exceptions.ConnectionClosedError(endpoint_url=KEY), DestinationUnavailable),
        (
            botocore.exceptions.SSLError(endpoint_url=KEY, error="certificate verify failed"),
            DestinationRefused,
        ),
        (botocore.exceptions.SSLError(endpoint_url=KEY, error="EOF"), DestinationUnavailable),
        (botocore.exceptions.NoCredentialsError(), DestinationRefused),
        (botocore.exceptions.InvalidRegionError(region_name="x y"), ConfigError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_errors_of_botocore_are_told_apart(error: Exception, expected: type[CloudmigError]) -> None:
    told = s3_control.translate(error, doing="head")

    assert type(told) is expected
    assert KEY not in f"{told} {told.hint}"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (obstore.exceptions.GenericError(f"{KEY}: connection reset"), DestinationUnavailable),
        (obstore.exceptions.GenericError(f"{KEY}: invalid peer certificate"), DestinationRefused),
        (obstore.exceptions.PermissionDeniedError(KEY), DestinationRefused),
        (
            FileNotFoundError(f"{KEY} status code: 404: <Code>NoSuchBucket</Code>"),
            DestinationRefused,
        ),
        (PermissionError(errno.EACCES, "no"), DestinationRefused),
        (OSError(errno.EROFS, "mounted so"), DestinationRefused),
        (OSError(errno.ENOSPC, "full"), DestinationUnavailable),
        (NotImplementedError(KEY), DestinationRefused),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_errors_of_obstore_are_told_apart(error: Exception, expected: type[CloudmigError]) -> None:
    told = obstore_errors.translate(error, doing="put")

    assert type(told) is expected
    assert KEY not in f"{told} {told.hint}"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (None, "", DestinationUnavailable),
        (200, "", DestinationUnavailable),
        (200, "InternalError", DestinationUnavailable),
        (400, "BadDigest", DestinationUnavailable),
        (400, "InvalidDigest", DestinationUnavailable),
        (400, "XAmzContentSHA256Mismatch", DestinationUnavailable),
        (400, "RequestTimeout", DestinationUnavailable),
        (400, "EntityTooLarge", Unacceptable),
        (400, "InvalidRequest", DestinationRefused),
        (403, "", DestinationRefused),
        (403, "RequestTimeTooSkewed", DestinationRefused),
        (403, "InvalidObjectState", ObjectArchived),
        (404, "NoSuchBucket", DestinationRefused),
        (405, "MethodNotAllowed", DestinationRefused),
        (408, "", DestinationUnavailable),
        (409, "ConditionalRequestConflict", DestinationUnavailable),
        (413, "", Unacceptable),
        (429, "", DestinationUnavailable),
        (500, "InternalError", DestinationUnavailable),
        (501, "NotImplemented", DestinationRefused),
        (503, "SlowDown", DestinationUnavailable),
    ],
)
def test_each_answer_has_one_meaning(
    status: int | None, code: str, expected: type[CloudmigError]
) -> None:
    error = error_for(status, code, doing="put")

    assert type(error) is expected
    assert error.hint or error.disposition is not Disposition.HALT, "who must act is told how"
