"""The table, and what is said on the way to it."""

import sys


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def amount(value, unit, sign=""):
    if unit == "MB":
        return f"{value / 1e6:.2f} MB"
    if abs(value) >= 2000:
        return f"{value / 1000:{sign}.1f} s"
    return f"{value:{sign}.1f} ms" if abs(value) < 100 else f"{value:{sign}.0f} ms"


def cell(sample, unit, sign=""):
    """Median, and the range behind it in the median's unit."""
    if not sample.values:
        return "–", ""
    text = amount(sample.median(), unit, sign)
    scale = 1e6 if unit == "MB" else 1000 if text.endswith(" s") else 1
    low, high = min(sample.values) / scale, max(sample.values) / scale
    digits = 2 if unit == "MB" else 0 if abs(high) >= 100 and scale == 1 else 1
    if len(sample.values) == 1:
        return text, "once"
    return text, f"{low:.{digits}f}–{high:.{digits}f}"


def print_table(rows):
    lines = [["", "Lodge", "", "raw", "", "libvirt", "", "reach", ""]]
    for row in rows:
        sign = "+" if row.more else ""
        reach = "–"
        if row.reach is not None:
            reach = amount(row.reach, row.unit, sign).replace(".0 ", " ").replace("0 MB", " MB")
        lines.append([row.what, *cell(row.lodge, row.unit, sign), *cell(row.raw, row.unit),
                      *cell(row.libvirt, row.unit, sign), reach,
                      "" if row.reach is None else "ok" if row.is_reached() else "miss"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        # Words and ranges to the left, numbers to the right.
        cells = [text.rjust(width) if i in (1, 3, 5, 7) else text.ljust(width)
                 for i, (text, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
