"""What a comparison measured, told as tables, figures and one page.

``results`` is the schema, ``summary`` one row of statements per operator, ``tables`` and ``figures`` show
them, ``report.write_report`` writes the page with everything on it.
"""
