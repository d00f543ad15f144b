"""Parts of HTML pages: charts as inline SVG, a wide and a narrow form of each, the style sheet, the templates."""

from torch_growl.application.pages.page import render
from torch_growl.application.pages.size_charts import Point, Series, size_chart
from torch_growl.application.pages.svg import LOOKS, MARKS
from torch_growl.application.pages.timelines import Track, timeline

__all__ = ["LOOKS", "MARKS", "Point", "Series", "Track", "render", "size_chart", "timeline"]
