"""Charts as SVG that stands in a page: text is text, colours are the page's, no two share a name."""
