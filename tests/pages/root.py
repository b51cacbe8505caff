"""The portal's addresses without their language: for tests that put views of their own beside them."""

from proue.portal import urls

urlpatterns = [*urls.plain, *urls.pages]
