"""Pictures are left blank here."""

from tests.blank_pictures import blank_pictures, drawn

__all__ = ['blank_pictures', 'drawn']
