"""How exhibits become pages: tables, wording, HTML, Word and RTF."""
