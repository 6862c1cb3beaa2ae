"""Users' Parquet files, read under the limits of `pkpd.reading`.

A file of a few kilobytes can declare, or hold compressed, more than any machine has. So nothing is decoded before the
sizes are known: what the footer declares, and what the header of every page declares, since the reader of a page
reserves that much whatever the footer says. Page headers are Thrift structs in the compact protocol [1]_.

References
----------
.. [1] Apache Parquet, "File format" and "Data pages"; Apache Thrift, "Thrift compact protocol encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ranklsim.pkpd.errors import BadInput, shown
from ranklsim.pkpd.reading import MOST_CELLS, check_columns, control_character

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_DECODED = 64_000_000
"""Bytes of all pages after decompression."""
MOST_PARTS = 100_000  # entries of one list of the footer
LONGEST_CELL = 1000  # characters
_MOST_NESTED = 16  # of a page header's structs, which need 3

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)


def read_parquet(name: str, content: bytes) -> dict[str, list[object]]:
    """The columns of a Parquet file of plain values.

    Parameters
    ----------
    name : str
        What messages call the file.
    content : bytes

    Returns
    -------
    dict of str to list
        Column to its values, None where missing; all of one length.

    Raises
    ------
    BadInput
        If the content is not Parquet, is damaged, holds lists or tables in a column, or breaks a limit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(
            pa.BufferReader(content), thrift_string_size_limit=1_000_000, thrift_container_size_limit=MOST_PARTS
        )
        texts = _check(name, content, file)
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
        table = file.read(use_threads=False)
        table.validate(full=True)
        columns = {column: _values(name, column, table.column(column)) for column in table.column_names}
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as fault:
        said = (str(fault).strip() or "damaged").splitlines()[0]
        raise BadInput(f"{name}: this is not a Parquet file that can be read ({said}); write it again.") from None
    return columns


def _check(name: str, content: bytes, file: pq.ParquetFile) -> list[str]:
    """Refuse what breaks a limit before it is decoded; returns the columns that hold text."""
    import pyarrow as pa

    about, schema = file.metadata, file.schema_arrow
    check_columns(name, schema.names)
    plain = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    texts = []
    for field in schema:
        if control_character(field.name):
            raise BadInput(f"{name}: the name of a column has a control character; remove it.")
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            texts.append(field.name)
        elif not any(is_kind(kind) for is_kind in plain):
            raise BadInput(f"{name}: column {shown(field.name)} holds {field.type}; give numbers, yes or no, or text.")
    if about.num_rows * max(1, about.num_columns) > MOST_CELLS:
        raise BadInput(f"{name}: the table has more than {MOST_CELLS} cells; leave out what is not needed.")
    decoded = 0
    for group in range(about.num_row_groups):
        rows = about.row_group(group)
        for place in range(rows.num_columns):
            chunk = rows.column(place)
            values, begin = 0, chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                begin = min(begin, chunk.dictionary_page_offset or begin)
            for size, count in page_sizes(content, begin, chunk.total_compressed_size):
                decoded += size
                values += count
                if decoded > MOST_DECODED:
                    raise BadInput(
                        f"{name}: the table takes more than {MOST_DECODED // 1_000_000} MB once it is unpacked; "
                        "leave out what is not needed."
                    )
            if values != rows.num_rows:
                raise ValueError(f"its pages hold {values} values where {rows.num_rows} are declared")
    return texts


def page_sizes(content: bytes, begin: int, length: int) -> Iterator[tuple[int, int]]:
    """Size after decompression, and number of values, of every page of a column in one group of rows.

    A page of a dictionary counts no value.

    Parameters
    ----------
    content : bytes
        The file.
    begin, length : int
        Where the column's pages begin, and how many bytes they take.

    Raises
    ------
    ValueError
        If the bytes are no sequence of pages.
    """
    end = begin + length
    if not 0 <= begin <= end <= len(content):
        raise ValueError("a column lies outside the file")
    while begin < end:
        header = _Header(content, begin, end)
        fields = header.struct()
        size, packed = fields.get((2,), -1), fields.get((3,), -1)
        count = fields.get((5, 1), fields.get((8, 1), 0))
        begin = header.at + packed
        if min(size, packed, count) < 0 or begin > end:
            raise ValueError("a page is longer than its column")
        if fields.get((7, 1), 0) > size:
            raise ValueError("a page declares more values than it has bytes")
        yield size, count


class _Header:
    """A cursor over one Thrift struct in the compact protocol; keeps the integers, by the path of their field."""

    def __init__(self, content: bytes, begin: int, end: int) -> None:
        self.content, self.at, self.end = content, begin, end

    def struct(self, path: tuple[int, ...] = ()) -> dict[tuple[int, ...], int]:
        found: dict[tuple[int, ...], int] = {}
        if len(path) > _MOST_NESTED:
            raise ValueError("the header of a page is nested too deeply")
        number = 0
        while (head := self._byte()) & 0x0F != _STOP:
            number = number + (head >> 4) if head >> 4 else self._integer()
            found |= self._value(head & 0x0F, (*path, number))
        return found

    def _value(self, kind: int, path: tuple[int, ...]) -> dict[tuple[int, ...], int]:
        if kind in _INTEGERS:
            return {path: self._integer()}
        if kind == _STRUCT:
            return self.struct(path)
        if kind in (_LIST, _SET, _MAP):
            raise ValueError("the header of a page holds a list")  # none of its fields is one
        if kind not in (_TRUE, _FALSE):
            self._skip({_BYTE: 1, _DOUBLE: 8}[kind] if kind != _BINARY else self._varint())
        return {}

    def _byte(self) -> int:
        self._skip(1)
        return self.content[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > self.end:
            raise ValueError("a page ends before its header does")

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("the header of a page holds a number without end")

    def _integer(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)


def _values(name: str, column: str, cells: pa.ChunkedArray) -> list[object]:
    """The cells of a column; those of equal text share one object."""
    import pyarrow as pa

    found: list[object] = []
    for chunk in cells.chunks:
        if not pa.types.is_dictionary(chunk.type):
            found += chunk.to_pylist()
            continue
        words = chunk.dictionary.to_pylist()
        for word in words:
            if isinstance(word, str) and (len(word) > LONGEST_CELL or control_character(word)):
                what = "a control character" if len(word) <= LONGEST_CELL else f"more than {LONGEST_CELL} characters"
                raise BadInput(f"{name}: column {shown(column)}: a cell has {what}; correct it.")
        found += [None if at is None else words[at] for at in chunk.indices.to_pylist()]
    return found
