"""Pages of ListObjectVersions, as S3 and its emulators write them."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

import boto3
import pytest
from botocore import handlers
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.archive import listing
from stream_backup.archive.listing import parse, parse_any
from stream_backup.core.version import Version

MD5 = "9dd4e461268c8034f5c8564e155c67a6"


def version(
    path: str = "T/a",
    version_id: str = "v1",
    written: str = "2026-11-21T03:32:39.000Z",
    etag: str = f'"{MD5}"',
) -> str:
    return (
        f"<Version><Key>{path}</Key><VersionId>{version_id}</VersionId><IsLatest>true</IsLatest><LastModified>{written}"
        f"</LastModified><ETag>{etag}</ETag><Size>5</Size><Owner><ID>owner</ID><DisplayName>me</DisplayName></Owner>"
        "<StorageClass>STANDARD</StorageClass></Version>"
    )


MARKER = (
    "<DeleteMarker><Key>T/gone</Key><VersionId>m1</VersionId><IsLatest>true</IsLatest>"
    "<LastModified>2026-11-21T03:32:40.000Z</LastModified><Owner><ID>owner</ID></Owner></DeleteMarker>"
)


def page(*content: str, truncated: bool = False) -> bytes:
    head = "<Name>bucket</Name><Prefix>T/</Prefix><KeyMarker/><VersionIdMarker/>"
    head += "<MaxKeys>1000</MaxKeys>"
    xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListVersionsResult xmlns="{xmlns}">{head}'
        f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>"
        f"{''.join(content)}</ListVersionsResult>"
    ).encode()


NEXT = "<NextKeyMarker>T/a+b%2Fc</NextKeyMarker><NextVersionIdMarker>v9</NextVersionIdMarker>"
URL = "<EncodingType>url</EncodingType>"


def test_one_version() -> None:
    """Each Version element becomes a tuple with whole seconds and an ETag without quotes."""
    assert parse(page(version())) == ([Version("T/a", "v1", 1795231959, 5, MD5)], {})


def test_empty_page() -> None:
    """A page without versions is empty, and it is the last page."""
    assert parse(page()) == ([], {})
    assert parse(b"<ListVersionsResult/>") == ([], {})


@pytest.mark.parametrize(
    "etag", [f"&quot;{MD5}&quot;", f"&#34;{MD5}&#34;", f"&#x22;{MD5}&#x22;", MD5]
)
def test_quotes_of_an_etag(etag: str) -> None:
    """An ETag has no quotes, however they are escaped: S3 writes &quot;, SeaweedFS &#34;."""
    assert parse(page(version(etag=etag))).versions[0].etag == MD5


def test_delete_markers_say_what_they_are() -> None:
    """Delete markers are returned in their place, and a store leaves them out for readers of the
    history."""
    found = parse(
        page(MARKER, version(version_id="v2"), MARKER, version(version_id="v1"), MARKER)
    ).versions
    assert [each.version_id for each in found] == ["m1", "v2", "m1", "v1", "m1"]
    assert [each.version_id for each in found if not each.marker] == ["v2", "v1"]


def test_order_is_kept() -> None:
    """Versions are returned in the order of the page: by path, and newest first, also within one
    second."""
    found = parse(
        page(version("T/a", "new"), version("T/a", "old"), version("T/b", "one"))
    ).versions
    assert [(each.path, each.version_id) for each in found] == [
        ("T/a", "new"),
        ("T/a", "old"),
        ("T/b", "one"),
    ]


@pytest.mark.parametrize(
    "content", [(URL, version("T/a+b%2Bc%C3%A9%25")), (version("T/a+b%2Bc%C3%A9%25"), URL)]
)
def test_url_encoded_keys(content: tuple[str, ...]) -> None:
    """URL-encoded keys are decoded, whether the page declares the encoding before or after the
    keys."""
    assert parse(page(*content)).versions[0].path == "T/a b+cé%"


def test_plain_keys() -> None:
    """A key that is not declared as encoded is used unchanged, with entities resolved."""
    assert parse(page(version("T/a+b%2F&amp;&lt;é"))).versions[0].path == "T/a+b%2F&<é"


def test_next_page() -> None:
    """A truncated page gives the two markers with which the next page begins, wherever they are in
    the page."""
    expected = {"KeyMarker": "T/a+b%2Fc", "VersionIdMarker": "v9"}
    assert parse(page(NEXT, version(), truncated=True)).markers == expected
    assert parse(page(version(), NEXT, truncated=True)).markers == expected


def test_next_page_url_encoded() -> None:
    """The marker of a page with encoded keys is decoded too, because botocore encodes it again."""
    assert parse(page(URL, NEXT, truncated=True)).markers["KeyMarker"] == "T/a b/c"


def test_next_page_by_key_alone() -> None:
    """If the page has no version marker, none is sent, because S3 refuses an empty one."""
    assert parse(page("<NextKeyMarker>T/a</NextKeyMarker>", truncated=True)).markers == {
        "KeyMarker": "T/a"
    }


def test_last_page_has_no_markers() -> None:
    """A page that is not truncated is the last, even if it has markers."""
    assert parse(page(NEXT, version())).markers == {}


def test_page_of_markers_only() -> None:
    """A page that contains only delete markers still leads to the next page."""
    found = parse(page(MARKER, NEXT, truncated=True))
    assert all(each.marker for each in found.versions)
    assert found.markers == {"KeyMarker": "T/a+b%2Fc", "VersionIdMarker": "v9"}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-11-21T03:32:39.999Z", 1795231959),
        ("2026-11-21T03:32:39Z", 1795231959),
        ("2026-11-21T03:32:39.000001Z", 1795231959),
    ],
)
def test_whole_seconds(written: str, seconds: int) -> None:
    """A time is the second that contains it, with or without a fraction."""
    assert parse(page(version(written=written))).versions[0].written == seconds


def test_a_page_cut_short_is_an_error() -> None:
    """A truncated response is never taken for a complete page."""
    with pytest.raises(ExpatError):
        parse(page(version(), version("T/b"))[:-40])


def test_a_version_cut_short_is_an_error() -> None:
    """A version without its size or time is an error."""
    with pytest.raises(KeyError):
        parse(page(version(), "<Version><Key>T/b</Key><VersionId>v</VersionId></Version>"))


PATHS = st.text(st.sampled_from("aZ09/%+é&<> "), min_size=1)


@given(
    st.lists(
        st.tuples(
            PATHS,
            st.sampled_from([MD5, f"{MD5}-3"]),
            st.integers(0, 2**40),
            st.booleans(),
            st.booleans(),
        )
    ),
    st.booleans(),
    st.booleans(),
)
def test_both_readers_of_a_page_agree(
    found: list[tuple[str, str, int, bool, bool]], quoted: bool, truncated: bool
) -> None:
    """The regular expression for S3's own format reads the same as expat, and expat also reads
    other formats."""
    entries, expected = [], []
    for number, (path, etag, size, owner, checksum) in enumerate(found):
        spelled = escape(quote_plus(path) if quoted else path)
        entry = version(spelled, f"v{number}", etag=f"&quot;{etag}&quot;").replace(
            "<Size>5<", f"<Size>{size}<"
        )
        if not owner:
            entry = entry.replace("<Owner><ID>owner</ID><DisplayName>me</DisplayName></Owner>", "")
        if checksum:
            extra = "<ChecksumAlgorithm>SHA256</ChecksumAlgorithm>"
            extra += "<ChecksumType>FULL_OBJECT</ChecksumType><Size>"
            entry = entry.replace("<Size>", extra)
        entries.append(entry)
        expected.append(Version(path, f"v{number}", 1795231959, size, etag))
    body = page(
        *([URL] if quoted else []), *entries, NEXT if truncated else "", truncated=truncated
    )
    assert parse(body) == parse_any(body)
    assert parse(body).versions == expected


class Sent:
    """botocore's response before its body is read."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.body


def client_answering(*answers: tuple[int, bytes]) -> tuple[Any, list[str]]:
    """Returns a boto3 client whose requests receive these responses one after another, and the list
    of requests that were sent."""
    config = Config(retries={"mode": "standard", "max_attempts": 3})
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "s"}
    client = boto3.Session().client("s3", region_name="us-east-1", config=config, **keys)
    left, sent = list(answers), []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(request.url)
        status, body = left.pop(0)
        return AWSResponse(request.url, status, {}, Sent(body))

    client.meta.events.register("before-send.s3", answer)
    listing.install(client)
    return client, sent


ERROR = b'<?xml version="1.0"?>\n<Error><Code>%s</Code><Message>m</Message></Error>'


@pytest.mark.parametrize(
    ("status", "code"), [(500, b"InternalError"), (503, b"SlowDown"), (200, b"InternalError")]
)
def test_an_error_is_left_to_botocore(status: int, code: bytes) -> None:
    """A response that is not a page is requested again, including one with status 200 that contains
    an error."""
    client, sent = client_answering((status, ERROR % code), (200, page(version())))
    assert client.list_object_versions(Bucket="b")[listing.PAGE].versions == [
        Version("T/a", "v1", 1795231959, 5, MD5)
    ]
    assert len(sent) == 2


def test_an_error_that_lasts_is_raised() -> None:
    """An error that persists is raised as botocore's own error."""
    client, _ = client_answering((403, ERROR % b"AccessDenied"))
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_object_versions(Bucket="b")


def test_botocore_never_sees_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore's parsers, which take ten times as long as ours, receive an empty page, both for the
    response and for the check for errors with status 200."""
    client, _ = client_answering((200, page(version())))
    seen: list[bytes] = []

    def look(_: int, body: bytes) -> bool:
        seen.append(body)
        return False

    monkeypatch.setattr(handlers, "_looks_like_special_case_error", look)
    client.meta.events.register_last(
        "before-parse.s3.*", lambda response_dict, **_: seen.append(response_dict["body"])
    )
    assert client.list_object_versions(Bucket="b")[listing.PAGE].versions
    assert seen == [b"<ListVersionsResult/>"] * 2
