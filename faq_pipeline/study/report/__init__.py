"""The report of a study: Markdown, HTML, tables and plots."""
