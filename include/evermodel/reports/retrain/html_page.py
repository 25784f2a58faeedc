"""The frame that decision page and model card share: one light page without outside parts."""

from __future__ import annotations

from evermodel.reports.retrain.document import escaped

_STYLE = """
:root { --ink: #1f2933; --faint: #5b6773; --line: #e4e8ec; --soft: #f6f8fa; --blue: #0072b2;
        --good: #1b7f5c; --bad: #c4314b; --warn: #9a6700; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
       "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 25px; line-height: 1.25; margin: 4px 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 34px 0 10px; overflow-wrap: anywhere; }
p { margin: 6px 0; overflow-wrap: anywhere; }
.kicker, .note, figcaption { color: var(--faint); font-size: 13px; }
.banner { border: 1px solid var(--line); border-left: 6px solid var(--tone); border-radius: 8px; padding: 16px 20px;
          background: var(--soft); margin-top: 14px; }
.banner strong { color: var(--tone); font-size: 19px; }
.banner p:last-child { margin-bottom: 0; }
.ships { --tone: var(--good); } .stays { --tone: var(--bad); } .forced { --tone: var(--warn); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin-top: 14px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; min-width: 0; }
.card b { display: block; font-size: 22px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card span { display: block; color: var(--faint); font-size: 13px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--faint); font-weight: 600; font-size: 13px; }
th, td { border-bottom: 1px solid var(--line); padding: 7px 14px 7px 0; vertical-align: top; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; min-width: 70px; }
tr.pass td:first-child, tr.fail td:first-child, tr.warn td:first-child { font-weight: 700; white-space: nowrap; }
tr.pass td:first-child { color: var(--good); } tr.pass td:first-child::before { content: "✓ "; }
tr.fail td:first-child { color: var(--bad); } tr.fail td:first-child::before { content: "✗ "; }
tr.warn td:first-child { color: var(--warn); } tr.warn td:first-child::before { content: "! "; }
tr.fail { background: #fdf3f4; } tr.warn { background: #fdf9ee; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 8px 24px; }
figure { margin: 12px 0 4px; min-width: 0; } figure.wide { grid-column: 1 / -1; }
figure h3 { font-size: 15px; margin: 0 0 4px; }
img { display: block; width: 100%; height: auto; }
a { color: var(--blue); } .links a, .links span { margin-right: 16px; }
ul { margin: 6px 0; padding-left: 20px; }
footer { margin-top: 36px; border-top: 1px solid var(--line); padding-top: 10px; }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""


def html_page(title: str, body: str, footer: str) -> str:
    """Return a whole HTML page.

    Parameters
    ----------
    title
        Shown in the tab; not escaped yet.
    body
        HTML, its data escaped already.
    footer
        A last line; not escaped yet.
    """
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{escaped(title)}</title><style>{_STYLE}</style></head>
<body><main>
{body}
<footer class="note">{escaped(footer)}</footer>
</main></body></html>
"""
