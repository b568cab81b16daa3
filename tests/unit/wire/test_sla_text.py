from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.errors import EXIT_INVALID, InvalidSlaError, SlaFault
from flops.wire.sla_text import MAX_SLA_BYTES, read_sla


def fault_of(document: str | bytes) -> SlaFault:
    with pytest.raises(InvalidSlaError) as raised:
        read_sla(document)
    assert raised.value.exit_code == EXIT_INVALID
    [fault] = raised.value.errors
    return fault


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("", "it is empty", 1, 1),
        (" \n ", "it is empty", 1, 1),
        ('{\n  // why\n  "a": 1}', "comments are not allowed", 2, 3),
        ('{"a": 1 # why\n}', "comments are not allowed", 1, 9),
        ('{"a": 1, % default\n "b": 2}', "comments are not allowed", 1, 10),
        ('{"a": /* why */ 1}', "comments are not allowed", 1, 7),
        ('{"a": 1}\n// why', "comments are not allowed", 2, 1),
        ('{"a": 1,}', "a comma stands before a closing bracket", 1, 8),
        ('{"a": 1,\n\n}', "a comma stands before a closing bracket", 1, 8),
        ('{"a": [1, 2 ,\n ]}', "a comma stands before a closing bracket", 1, 13),
        ("{'a': 1}", "single quotes", 1, 2),
        ("{\"a\": 'b'}", "single quotes", 1, 7),
        ("{a: 1}", "the key a has no quotes", 1, 2),
        ('{"a": sklearn}', "the text sklearn has no quotes", 1, 7),
        ('{"a": True}', "True is not JSON", 1, 7),
        ('{"a": None}', "None is not JSON", 1, 7),
        ('{"a": NaN}', "NaN is not a JSON number", 1, 7),
        ('{"NaN": "NaN",\n "a": -Infinity}', "-Infinity is not a JSON number", 2, 7),
        ('{"a": 1', "it ends too early", 1, 8),
        ('{"a": "b', "the closing quote of this text is missing", 1, 7),
        ('{"a": "b\nc"}', "a line break or control character", 1, 9),
        (r'{"a": "\d"}', "a backslash is followed by", 1, 8),
        (r'{"a": "\u12"}', "four hexadecimal digits", 1, 9),
        ('{"a" 1}', "a colon is missing", 1, 6),
        ('{"a": 1\n "b": 2}', "a comma or a closing bracket is missing", 2, 2),
        ('{"a": }', "a value is missing", 1, 7),
        ('{"a": 1} {}', "something follows", 1, 10),
        ("{1: 2}", "a key in double quotes is expected", 1, 2),
        ("[" * 100_000, "nested more than 16 levels deep", 1, 17),
        ('{"a":' * 17 + "1" + "}" * 17, "nested more than 16 levels deep", 1, 81),
        ("\ufeff{}", "byte order mark", 1, 1),
    ],
)
def test_a_syntax_error_is_named_with_its_place(text: str, message: str, line: int, column: int) -> None:
    fault = fault_of(text)
    assert message in fault.message
    assert (fault.line, fault.column) == (line, column)


def test_what_is_not_utf8_is_named_with_its_place() -> None:
    fault = fault_of('{"a":\n "ü"}'.encode("latin-1"))
    assert (fault.message, fault.line, fault.column) == ("it is not UTF-8", 2, 3)


def test_utf16_is_recognised_by_its_byte_order_mark() -> None:
    assert "byte order mark" in fault_of('{"a": 1}'.encode("utf-16")).message


def test_half_of_a_surrogate_pair_is_refused() -> None:
    assert "surrogate" in fault_of(r'{"a": ["\ud800"]}').message
    assert fault_of(r'{"a": ["\ud800"]}').path == "a[0]"
    assert "surrogate" in fault_of('{"a": "\ud800"}').message
    assert "a key is not a text" in fault_of(r'{"\ud800": 1}').message


def test_a_number_with_too_many_digits_is_refused() -> None:
    assert "too many digits" in fault_of('{"a": ' + "1" * 5000 + "}").message


def test_a_document_may_be_as_large_as_the_limit_but_not_larger() -> None:
    document = b'{"a": "' + b"x" * (MAX_SLA_BYTES - 9) + b'"}'
    assert read_sla(document).value
    assert "more than 262,144 bytes" in fault_of(document + b" ").message


def test_every_key_that_occurs_twice_is_listed() -> None:
    with pytest.raises(InvalidSlaError) as raised:
        read_sla('{"a": {"b": 1,\n "b": 2}, "c": [{"d": 1, "d": 2}],\n "a": 3}')
    listed = [(fault.path, fault.line, fault.column) for fault in raised.value.errors]
    assert listed == [("a.b", 2, 2), ("c[0].d", 2, 26), ("a", 3, 2)]


def test_an_escaped_key_is_the_same_key() -> None:
    assert fault_of(r'{"a": 1, "\u0061": 2}').message == "the key occurs twice"


def test_equal_keys_of_different_objects_and_texts_that_look_like_keys_are_fine() -> None:
    assert read_sla('{"a": {"k": 1}, "b": {"k": "\\"k\\": {["}, "c": [{"k": 1}, {"k": 2}]}').value


def test_places_of_keys_and_items_are_known() -> None:
    places = read_sla('{"a": [1,\n  "x", {"b": [ ]}], "c":\n {"d": null}}').places
    assert places["a"] == (1, 2)
    assert places["a[0]"] == (1, 8)
    assert places["a[1]"] == (2, 3)
    assert places["a[2].b"] == (2, 9)
    assert places["c.d"] == (3, 3)


def test_a_parsed_document_is_taken_as_it_is() -> None:
    document = {"a": [1, {"b": None}]}
    assert read_sla(document).value is document


def test_a_parsed_document_that_is_too_deep_is_refused() -> None:
    document: dict[str, object] = {}
    for _ in range(50):
        document = {"a": document}
    with pytest.raises(InvalidSlaError, match="nested more than"):
        read_sla(document)


@given(st.text() | st.binary() | st.text(alphabet="{}[]\":,\\ \n1aé/'#", max_size=60))
def test_any_text_is_read_or_refused(document: str | bytes) -> None:
    with contextlib.suppress(InvalidSlaError):
        assert read_sla(document).places is not None


@pytest.mark.parametrize("piece", ['"', '\\"', '{"', "[", '{"a":', " ", "'", '"a" '])
def test_the_largest_text_is_read_in_linear_time(piece: str) -> None:
    """A quadratic scan of 256 KiB would take minutes and run into the test's time limit."""
    fault_of((piece * MAX_SLA_BYTES)[: MAX_SLA_BYTES - 8])
