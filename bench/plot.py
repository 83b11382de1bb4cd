"""Curves over clients as an SVG picture, both axes logarithmic, each curve named at its end."""

import math

WIDTH, HEIGHT = 900, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 740, 60, 500
# Distinct also to eyes that tell red and green apart badly.
COLOURS = ["#0060a8", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7f3c8d"]
LABEL_HEIGHT = 15


def place(value, low, high, begin, end):
    return begin + (end - begin) * math.log(value / low) / math.log(high / low)


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>'


def line(x1, y1, x2, y2, more):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def spread(positions):
    """Moves labels apart, keeping their order."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = list(positions)
    for above, below in zip(order, order[1:]):
        moved[below] = max(moved[below], moved[above] + LABEL_HEIGHT)
    return moved


def draw(title, subtitle, label, curves, ideals):
    """`curves`: {name: {clients: value}}, `ideals` likewise, drawn thin and grey."""
    values = [y for c in [*curves.values(), *ideals.values()] for y in c.values() if y > 0]
    clients = sorted({x for c in [*curves.values(), *ideals.values()] for x in c})
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))

    def points(curve):
        ends = clients[0], max(clients[-1], 2 * clients[0])
        seen = [(x, y) for x, y in sorted(curve.items()) if y > 0]
        return [(place(x, *ends, LEFT, RIGHT), place(y, low, high, BOTTOM, TOP)) for x, y in seen]

    def path(curve, more):
        return f'<path fill="none" {more} d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in points(curve)) + '"/>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 24, title, 'font-size="17" font-weight="bold"'),
        text(LEFT, 44, subtitle, 'fill="#555555"'),
        text(LEFT - 8, TOP - 12, label, 'text-anchor="end"'),
        text((LEFT + RIGHT) / 2, BOTTOM + 42, "clients", 'text-anchor="middle"'),
    ]
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        y = place(10**power, low, high, BOTTOM, TOP)
        out.append(line(LEFT, y, RIGHT, y, 'stroke="#dddddd"'))
        out.append(text(LEFT - 8, y + 4, f"{10**power:,}", 'text-anchor="end"'))
    for n, (x, _) in zip(clients, points({n: high for n in clients})):
        out.append(line(x, BOTTOM, x, BOTTOM + 5, 'stroke="#333333"'))
        out.append(text(x, BOTTOM + 20, f"{n:,}", 'text-anchor="middle"'))
    out += [path(curve, 'stroke="#999999" stroke-dasharray="5 4"') for curve in ideals.values()]
    names = list(curves)
    labels = spread([points(curves[name])[-1][1] + 4 for name in names])
    for name, colour, y in zip(names, COLOURS * len(names), labels):
        out.append(path(curves[name], f'stroke="{colour}" stroke-width="2"'))
        out += [f'<circle cx="{x:.1f}" cy="{y_:.1f}" r="3" fill="{colour}"/>' for x, y_ in points(curves[name])]
        out.append(text(RIGHT + 10, y, name, f'fill="{colour}"'))
    return "\n".join([*out, "</svg>", ""])
