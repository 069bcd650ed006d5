"""A picture of what a distribution costs, in the form of the others: an SVG, written by hand.

Two panels beside each other with one axis: over nodes, and over sites. A bar is the median of the
rounds, the line on it goes from the least to the most; figures are written out, so that the picture
reads without colours.
"""

import pathlib
import statistics

WIDTH, HEIGHT = 960, 386
TOP, BOTTOM = 90, 350
PANELS = ((70, 460), (530, 920))
FILLS = ("#2f6da8", "#c9d3e0")


def round_up(value):
    """A round number at or above."""
    unit = 1.0
    while unit * 10 <= value:
        unit *= 10
    return next(step * unit for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
                if step * unit >= value)


def panel(place, title, unit, bars, top):
    left, right = PANELS[place]
    height = lambda value: BOTTOM - value / top * (BOTTOM - TOP)
    lines = [f'<text x="{left}" y="{TOP - 18}" font-weight="600">{title}</text>']
    for quarter in range(5):
        value = top * quarter / 4
        y = height(value)
        lines.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#dddddd"/>')
        lines.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    step = (right - left) / len(bars)
    for number, (name, each) in enumerate(bars):
        middle, median = left + step * (number + 0.5), statistics.median(each)
        y = height(median)
        lines.append(
            f'<rect x="{middle - 36:.1f}" y="{y:.1f}" width="72" height="{BOTTOM - y:.1f}" '
            f'fill="{FILLS[place]}" stroke="#444444" stroke-width=".6"/>')
        low, high = height(min(each)), height(max(each))
        lines.append(f'<path d="M{middle:.1f} {low:.1f}V{high:.1f}M{middle - 6:.1f} {low:.1f}h12'
                     f'M{middle - 6:.1f} {high:.1f}h12" stroke="#111111" stroke-width="1.5"/>')
        lines.append(f'<text x="{middle + 10:.1f}" y="{high - 6:.1f}" font-weight="600">'
                     f'{median:.1f}</text>')
        lines.append(f'<text x="{middle:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{name} '
                     f'{unit}</text>')
    return lines


def draw(path, by_nodes, by_sites, rate):
    """Writes it: of each number of nodes and of sites the rounds' milliseconds."""
    top = round_up(max(max(each) for _, each in by_nodes + by_sites) * 1.05)
    title = f"Processor's time of a contact, all nodes together, ms ({rate:.0f} a second)"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        f"<title>{title}</title>", f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="70" y="32" font-size="17" font-weight="600">{title}</text>',
        '<text x="70" y="52">bars: median of the rounds; lines: least and most; without what the '
        'cluster uses at rest</text>',
        *panel(0, "more nodes, 4 sites", "nodes", by_nodes, top),
        *panel(1, "more sites, 3 nodes", "sites", by_sites, top), "</svg>"]
    pathlib.Path(path).write_text("\n".join(lines) + "\n")
