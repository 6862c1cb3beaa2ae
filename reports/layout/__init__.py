"""Layout of exhibits and pages: tables, wording, HTML, Word and RTF."""
